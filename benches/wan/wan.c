/* wan: a wide-area link between two network interfaces, for benchmarks and tests.
 *
 *   cc -O2 -o wan wan.c && ./wan IFACE_A IFACE_B ONE_WAY_DELAY_US [LOSS_PER_MILLION]
 *
 * Every frame that arrives on one interface leaves on the other ONE_WAY_DELAY_US
 * microseconds later, in order; LOSS_PER_MILLION of them are dropped.  Frames carry
 * their offload header (PACKET_VNET_HDR), so checksums and large segments survive.
 * Needs CAP_NET_RAW.  wan.sh beside this file lays out the namespaces around it.  Says "wan: up" once it forwards.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FRAME_MAX = 66 * 1024, QUEUE = 16384 };

struct frame { uint64_t due_ns; size_t len; unsigned char *bytes; };
struct line { struct frame q[QUEUE]; unsigned head, tail; };

static struct line lines[2];

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
    srandom(1);
    puts("wan: up");
    fflush(stdout);
    for (;;) {
        uint64_t now = now_ns(), next = UINT64_MAX;
        for (int from = 0; from < 2; from++) {
            struct line *l = &lines[from];
            while (l->head != l->tail && l->q[l->head % QUEUE].due_ns <= now) {
                struct frame *f = &l->q[l->head % QUEUE];
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
                f->bytes = malloc((size_t)n);
                memcpy(f->bytes, buf, (size_t)n);
            }
        }
    }
}
