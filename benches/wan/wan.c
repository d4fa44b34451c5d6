/* wan: a wide-area link between two network interfaces, for benchmarks and tests.
 *
 *   cc -O2 -o wan wan.c && ./wan IFACE_A IFACE_B ONE_WAY_DELAY_US [LOSS_PER_MILLION [count]]
 *
 * Every frame that arrives on one interface leaves on the other ONE_WAY_DELAY_US
 * microseconds later, in order; LOSS_PER_MILLION of them are dropped.  Frames carry
 * their offload header (PACKET_VNET_HDR), so checksums and large segments survive.
 * Needs CAP_NET_RAW.  wan.sh beside this file lays out the namespaces around it.  Says "wan: up" once it forwards.
 *
 * With count it says "wan: trip N" whenever a chain of segments has reached A for the Nth time from B, of which
 * each was sent after the one before had arrived: the round trips that A has waited for, however slow or busy
 * the machines are. Bare acknowledgements belong to a chain only where something waits for them, which is those
 * of a SYN or FIN. The chain is one: it tells round trips of what happens in turn, not of sessions side by side.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FRAME_MAX = 66 * 1024, QUEUE = 16384, AWAITED = 1024, ETHERNET = 14 };

/* chain: how long the chain is that the frame belongs to; -1 where it belongs to none */
struct frame { uint64_t due_ns; size_t len; unsigned char *bytes; long chain; };
struct line { struct frame q[QUEUE]; unsigned head, tail; };

static struct line lines[2];

/* A SYN or FIN, by its connection and what acknowledges it. */
struct awaited { int from; uint16_t port, to_port; uint32_t ack; };
static struct awaited awaited[AWAITED];
static unsigned awaited_next;
/* The longest chain that has reached each side. */
static long reached[2];

static int is_awaited(int from, const struct tcphdr *tcp) {
    for (unsigned i = 0; i < AWAITED; i++) {
        struct awaited *a = &awaited[i];
        if (a->port && a->from == !from && a->port == tcp->dest && a->to_port == tcp->source &&
            (int32_t)(ntohl(tcp->ack_seq) - a->ack) >= 0) {
            a->port = 0;
            return 1;
        }
    }
    return 0;
}

/* The chain of a frame that was sent by this side. */
static long chain_of(int from, const unsigned char *bytes, size_t len) {
    const unsigned char *packet = bytes + sizeof(struct virtio_net_hdr) + ETHERNET;
    const unsigned char *end = bytes + len;
    const struct iphdr *ip = (const void *)packet;
    if (packet + sizeof *ip > end || ip->version != 4 || ip->protocol != IPPROTO_TCP) return -1;
    const struct tcphdr *tcp = (const void *)(packet + ip->ihl * 4u);
    if ((const unsigned char *)(tcp + 1) > end) return -1;
    long payload = (long)ntohs(ip->tot_len) - ip->ihl * 4 - tcp->doff * 4;
    int acknowledges = tcp->ack && is_awaited(from, tcp);
    if (tcp->syn || tcp->fin) {
        uint32_t ack = ntohl(tcp->seq) + (uint32_t)payload + tcp->syn + tcp->fin;
        awaited[awaited_next++ % AWAITED] = (struct awaited){from, tcp->source, tcp->dest, ack};
    }
    return payload > 0 || tcp->syn || tcp->fin || tcp->rst || acknowledges ? reached[from] : -1;
}

/* A frame is about to reach the other side. */
static void reaches(int from, long chain) {
    if (chain < 0) return;
    int is_back = from == 1;
    if (chain + is_back <= reached[!from]) return;
    reached[!from] = chain + is_back;
    if (is_back) {
        printf("wan: trip %ld\n", reached[!from]);
        fflush(stdout);
    }
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int open_iface(const char *name) {
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL));
    int one = 1, size = 64 << 20;
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    if (fd < 0) { perror("wan: socket"); exit(1); }
    if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one)) { perror("wan: PACKET_VNET_HDR"); exit(1); }
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    at.sll_ifindex = (int)if_nametoindex(name);
    if (!at.sll_ifindex || bind(fd, (struct sockaddr *)&at, sizeof at)) { fprintf(stderr, "wan: no interface %s\n", name); exit(1); }
    return fd;
}

int main(int argc, char **argv) {
    static unsigned char buf[FRAME_MAX];
    if (argc < 4) { fprintf(stderr, "usage: wan IFACE_A IFACE_B ONE_WAY_DELAY_US [LOSS_PER_MILLION]\n"); return 2; }
    int fd[2] = {open_iface(argv[1]), open_iface(argv[2])};
    uint64_t delay_ns = strtoull(argv[3], NULL, 10) * 1000;
    long loss = argc > 4 ? atol(argv[4]) : 0;
    int counts = argc > 5 && !strcmp(argv[5], "count");
    srandom(1);
    puts("wan: up");
    fflush(stdout);
    for (;;) {
        uint64_t now = now_ns(), next = UINT64_MAX;
        for (int from = 0; from < 2; from++) {
            struct line *l = &lines[from];
            while (l->head != l->tail && l->q[l->head % QUEUE].due_ns <= now) {
                struct frame *f = &l->q[l->head % QUEUE];
                if (counts) reaches(from, f->chain);
                if (send(fd[!from], f->bytes, f->len, 0) < 0 && (errno == EAGAIN || errno == ENOBUFS)) { usleep(50); continue; }
                free(f->bytes);
                l->head++;
            }
            if (l->head != l->tail && l->q[l->head % QUEUE].due_ns < next) next = l->q[l->head % QUEUE].due_ns;
        }
        struct pollfd p[2] = {{fd[0], POLLIN, 0}, {fd[1], POLLIN, 0}};
        now = now_ns();
        uint64_t wait = next == UINT64_MAX ? 1000000000u : next > now ? next - now : 0;
        struct timespec t = {(time_t)(wait / 1000000000u), (long)(wait % 1000000000u)};
        if (ppoll(p, 2, &t, NULL) < 0) continue;
        for (int from = 0; from < 2; from++) {
            if (!(p[from].revents & POLLIN)) continue;
            for (int burst = 0; burst < 256; burst++) {
                struct sockaddr_ll src;
                socklen_t src_len = sizeof src;
                ssize_t n = recvfrom(fd[from], buf, sizeof buf, 0, (struct sockaddr *)&src, &src_len);
                if (n <= 0) break;
                if (src.sll_pkttype == PACKET_OUTGOING) continue;
                if (loss && random() % 1000000 < loss) continue;
                struct line *l = &lines[from];
                if (l->tail - l->head == QUEUE) continue; /* a full line drops, as a router does */
                struct frame *f = &l->q[l->tail++ % QUEUE];
                f->due_ns = now_ns() + delay_ns;
                f->len = (size_t)n;
                f->chain = counts ? chain_of(from, buf, (size_t)n) : -1;
                f->bytes = malloc((size_t)n);
                memcpy(f->bytes, buf, (size_t)n);
            }
        }
    }
}
