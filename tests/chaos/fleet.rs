//! The pods of a run, as a cluster's controller keeps them: what ends by itself is started again.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;

use crate::events::Event;
use crate::site::Site;
use crate::support::http;
use crate::support::pod::{Metrics, Pod};
use crate::support::process::Signal;

/// From SIGTERM to the end, on a busy machine, and where the broker goes away meanwhile: drain (10 s), undoing what was
/// cut off (9), last transaction (15), leaving (5), and some seconds in between.
const EXIT: Duration = Duration::from_secs(75);
/// A pod that ended by itself is started again after this long.
const RESTART: Duration = Duration::from_secs(1);

/// Between two looks at the pods' metrics.
const SCRAPE: Duration = Duration::from_secs(1);

/// The exit code of a pod that cannot go on.
const GIVEN_UP: i32 = 1;
const SIGTERM: i32 = 15;

/// librdkafka 2.12's sticky assignor keeps the record of a partition that has moved back to whom it came from, and
/// aborts the leader's process when that partition is moved once more (`PartitionMovements_movePartition`). It cannot
/// be caught. To the rest it is a kill like any other; it is counted, and told.
const ASSIGNOR: &str = "rdkafka_sticky_assignor.c";

struct Member {
    name: String,
    pod: Pod,
    /// Its sidecar, once it listens.
    api: Option<SocketAddr>,
    /// Transactions it has aborted, as it said last.
    aborted: f64,
    frozen: bool,
    /// Another pod has its name: it is not started again when it ends.
    replaced: bool,
}

enum Later {
    Start {
        name: String,
    },
    Thaw {
        pod: i32,
    },
    StartServer {
        index: usize,
    },
    /// What this event has taken away from the tunnel is there again.
    MendTunnel {
        event: Event,
    },
}

/// Pods in service, and those whose logs are kept.
pub struct Fleet<'a> {
    site: &'a Site,
    delivery: &'a str,
    members: Vec<Member>,
    gone: Vec<Pod>,
    /// Told to end, and by when they must have.
    leaving: Vec<(Instant, String, Pod)>,
    later: Vec<(Instant, Later)>,
    named: usize,
    next_scrape: Instant,
    /// Transactions that pods aborted which are gone.
    aborted_before: f64,
    pub kills: usize,
    /// Pods that librdkafka ended, see [`ASSIGNOR`].
    pub assignor_aborts: usize,
    /// Pods that gave up, as one that is fenced has to.
    pub exits: usize,
    /// Ends that no pod may have: a panic, a crash, a SIGTERM without effect.
    pub bad_ends: Vec<String>,
}

impl<'a> Fleet<'a> {
    pub fn new(site: &'a Site, delivery: &'a str) -> Fleet<'a> {
        Fleet {
            site,
            delivery,
            members: Vec::new(),
            gone: Vec::new(),
            leaving: Vec::new(),
            later: Vec::new(),
            named: 0,
            next_scrape: Instant::now(),
            aborted_before: 0.0,
            kills: 0,
            assignor_aborts: 0,
            exits: 0,
            bad_ends: Vec::new(),
        }
    }

    /// Starts a pod of a name of its own.
    pub fn add(&mut self) -> String {
        let name = self.new_name();
        self.start(name.clone());
        name
    }

    fn new_name(&mut self) -> String {
        self.named += 1;
        format!("pod-{}", self.named)
    }

    fn start(&mut self, name: String) {
        let pod = Pod::spawn(&self.site.pod_config(&name, self.delivery));
        let (api, aborted) = (None, 0.0);
        self.members.push(Member { name, pod, api, aborted, frozen: false, replaced: false });
    }

    /// SIGKILL of any pod; `absence` later one of the same name, or of another, is started.
    pub fn kill_any(&mut self, rng: &mut StdRng, same_name: bool, absence: Duration) -> Option<String> {
        let at = self.any_awake(rng)?;
        let name = self.kill(at);
        let next = if same_name { name.clone() } else { self.new_name() };
        self.after(absence, Later::Start { name: next });
        Some(name)
    }

    /// SIGKILL of all pods, the frozen ones too; as many are started `absence` later.
    pub fn kill_all(&mut self, absence: Duration) {
        while !self.members.is_empty() {
            let replaced = self.members[0].replaced;
            let name = self.kill(0);
            if !replaced {
                self.after(absence, Later::Start { name });
            }
        }
    }

    fn kill(&mut self, at: usize) -> String {
        let Member { name, pod, .. } = self.take(at);
        pod.kill9();
        self.kills += 1;
        self.gone.push(pod);
        name
    }

    /// SIGSTOP of any pod, SIGCONT after `span`. With `replace`, a pod of its name is started meanwhile.
    pub fn freeze_any(&mut self, rng: &mut StdRng, span: Duration, replace: bool) -> Option<String> {
        let at = self.any_awake(rng)?;
        let member = &mut self.members[at];
        member.pod.signal(Signal::STOP);
        member.frozen = true;
        member.replaced = replace;
        let (name, pod) = (member.name.clone(), member.pod.pid());
        self.after(span, Later::Thaw { pod });
        if replace {
            self.after(span / 3, Later::Start { name: name.clone() });
        }
        Some(name)
    }

    /// Other settings for the connections of any pod, other limits, or a file that is none.
    pub fn reload_any(&mut self, rng: &mut StdRng) -> Option<String> {
        let Member { name, pod, .. } = &self.members[self.any_awake(rng)?];
        let config = self.site.pod_config(name, self.delivery);
        let (timeout, sessions) = (rng.random_range(20..40), rng.random_range(1..=4));
        let (what, more) = match rng.random_range(0..4) {
            0 => ("a mistake", "hots = none".to_owned()),
            1 => ("limits", format!("max_sessions = {sessions}")),
            2 => ("settings", format!("reply_timeout = {timeout}s")),
            _ => ("both", format!("reply_timeout = {timeout}s\nmax_sessions = {sessions}")),
        };
        let section = "type = ftp\n";
        pod.rewrite_connections(&config.connections().replace(section, &format!("{section}{more}\n")));
        Some(format!("{name}: {what}"))
    }

    /// SIGTERM of any pod, but for the last one; its end comes in its own time.
    pub fn remove_any(&mut self, rng: &mut StdRng) -> Option<String> {
        if self.members.len() < 2 {
            return None;
        }
        let at = self.any_awake(rng)?;
        let Member { name, pod, .. } = self.take(at);
        pod.signal(Signal::TERM);
        self.leaving.push((Instant::now() + EXIT, name.clone(), pod));
        Some(name)
    }

    /// SIGKILL of a server; it is started again after `absence`.
    pub fn kill_server(&mut self, index: usize, absence: Duration) {
        self.site.servers[index].kill();
        self.after(absence, Later::StartServer { index });
    }

    /// One part of the tunnel is killed or frozen; each is mended `absence` later.
    pub fn disturb_tunnel(&mut self, event: Event, absence: Duration) {
        let is_disturbed = self.later.iter().any(|(_, later)| matches!(later, Later::MendTunnel { .. }));
        let Some(tunnel) = self.site.tunnel.as_ref().filter(|_| !is_disturbed) else { return };
        match event {
            Event::KillFrps => tunnel.kill_frps(),
            Event::KillFarClient => tunnel.kill_far(),
            _ => tunnel.signal_frps(Signal::STOP),
        }
        self.after(absence, Later::MendTunnel { event });
    }

    /// True while this server is down.
    pub fn is_server_down(&self, index: usize) -> bool {
        self.later.iter().any(|(_, later)| matches!(later, Later::StartServer { index: i } if *i == index))
    }

    /// The name of a pod that works.
    pub fn any_name(&self, rng: &mut StdRng) -> Option<String> {
        self.any_awake(rng).map(|at| self.members[at].name.clone())
    }

    /// A pod that works; one that another has taken the name of is left to find out.
    fn any_awake(&self, rng: &mut StdRng) -> Option<usize> {
        let works = |&i: &usize| !self.members[i].frozen && !self.members[i].replaced;
        let awake: Vec<usize> = (0..self.members.len()).filter(works).collect();
        (!awake.is_empty()).then(|| awake[rng.random_range(0..awake.len())])
    }

    fn after(&mut self, wait: Duration, later: Later) {
        self.later.push((Instant::now() + wait, later));
    }

    /// Does what is due, and starts pods again that have ended.
    pub fn tend(&mut self) {
        self.tend_at(Instant::now());
    }

    fn tend_at(&mut self, now: Instant) {
        let (due, later) = std::mem::take(&mut self.later).into_iter().partition(|(at, _)| *at <= now);
        self.later = later;
        let due: Vec<(Instant, Later)> = due;
        for (_, later) in due {
            match later {
                Later::Start { name } => self.start(name),
                Later::Thaw { pod } => self.thaw(pod),
                Later::StartServer { index } => self.site.servers[index].restart(),
                Later::MendTunnel { event } => self.mend_tunnel(event),
            }
        }
        self.bury();
        self.see_off();
        if now >= self.next_scrape {
            self.next_scrape = now + SCRAPE;
            self.scrape();
        }
    }

    fn mend_tunnel(&self, event: Event) {
        let Some(tunnel) = &self.site.tunnel else { return };
        match event {
            Event::KillFrps => tunnel.start_frps(),
            Event::KillFarClient => tunnel.start_far(),
            _ => tunnel.signal_frps(Signal::CONT),
        }
    }

    /// Transactions that the pods have aborted, by their own metrics; of one that was killed what it said last.
    pub fn aborted_transactions(&self) -> f64 {
        self.aborted_before + self.members.iter().map(|member| member.aborted).sum::<f64>()
    }

    fn scrape(&mut self) {
        if self.site.network.is_some() {
            return; // it would wait for whatever the network does
        }
        for member in self.members.iter_mut().filter(|member| !member.frozen) {
            // Read from the log, which grows long: once.
            member.api = member.api.or_else(|| member.pod.addr("api"));
            let page = member.api.and_then(|api| http::get(api, "/metrics").ok());
            if let Some((_, page)) = page {
                member.aborted = Metrics::parse(&page).sum("ftp_pooler_aborted_transactions_total", &[]);
            }
        }
    }

    fn take(&mut self, at: usize) -> Member {
        let member = self.members.swap_remove(at);
        self.aborted_before += member.aborted;
        member
    }

    fn thaw(&mut self, pid: i32) {
        if let Some(member) = self.members.iter_mut().find(|member| member.pod.pid() == pid) {
            member.pod.signal(Signal::CONT);
            member.frozen = false;
        }
    }

    fn bury(&mut self) {
        while let Some(at) = self.members.iter().position(|member| !member.pod.is_running()) {
            let Member { name, pod, replaced, .. } = self.take(at);
            self.exits += 1;
            self.judge_end(&name, &pod);
            if !replaced {
                self.after(RESTART, Later::Start { name });
            }
            self.gone.push(pod);
        }
    }

    /// Everybody awake, every server up.
    pub fn calm(&mut self) {
        let end = self.later.iter().map(|(at, _)| *at).max();
        self.tend_at(end.unwrap_or_else(Instant::now));
    }

    /// SIGTERM of all pods, and their ends.
    pub fn stop(&mut self) {
        self.later.clear();
        let deadline = Instant::now() + EXIT;
        self.scrape();
        while !self.members.is_empty() {
            let Member { name, pod, .. } = self.take(0);
            pod.signal(Signal::TERM);
            self.leaving.push((deadline, name, pod));
        }
        while !self.leaving.is_empty() {
            self.see_off();
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Looks how those that were told to end have ended.
    fn see_off(&mut self) {
        for (deadline, name, pod) in std::mem::take(&mut self.leaving) {
            match pod.exit_status() {
                None if Instant::now() < deadline => {
                    self.leaving.push((deadline, name, pod));
                    continue;
                }
                None => {
                    self.bad_ends.push(format!("{name} did not end on SIGTERM\n{}", pod.log_tail(20)));
                    pod.kill9();
                }
                Some(_) => self.judge_end(&name, &pod),
            }
            self.gone.push(pod);
        }
    }

    /// A pod may give up; it may not panic (101) or crash.
    fn judge_end(&mut self, name: &str, pod: &Pod) {
        let Some(status) = pod.exit_status() else { return };
        let last = pod.log_tail(5);
        // One that is told to end before it has begun anything has not asked for the signal yet.
        let had_not_begun = status.signal() == Some(SIGTERM) && last.trim().is_empty();
        if status.success() || had_not_begun {
            return;
        }
        eprintln!("  {name} ended with {status}: {last}");
        if last.contains(ASSIGNOR) {
            self.assignor_aborts += 1;
        } else if status.code() != Some(GIVEN_UP) {
            self.bad_ends.push(format!("{name} ended with {status}\n{last}"));
        }
    }
}
