//! The pods of a run, as a cluster's controller keeps them: what ends by itself is started again.

use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;

use crate::site::Site;
use crate::support::pod::Pod;
use crate::support::process::Signal;

/// From SIGTERM to the end, on a busy machine: drain, last transaction, leaving.
const EXIT: Duration = Duration::from_secs(45);
/// A pod that ended by itself is started again after this long.
const RESTART: Duration = Duration::from_secs(1);

struct Member {
    name: String,
    pod: Pod,
    frozen: bool,
    /// Another pod has its name: it is not started again when it ends.
    replaced: bool,
}

enum Later {
    Start { name: String },
    Thaw { pod: i32 },
    StartServer { index: usize },
}

/// Pods in service, and those whose logs are kept.
pub struct Fleet<'a> {
    site: &'a Site,
    delivery: &'a str,
    members: Vec<Member>,
    gone: Vec<Pod>,
    later: Vec<(Instant, Later)>,
    started: usize,
    /// Pods that ended though nobody had killed them, replaced ones not counted.
    pub exits: Vec<String>,
    pub kills: usize,
}

impl<'a> Fleet<'a> {
    pub fn new(site: &'a Site, delivery: &'a str) -> Fleet<'a> {
        Fleet {
            site,
            delivery,
            members: Vec::new(),
            gone: Vec::new(),
            later: Vec::new(),
            started: 0,
            exits: Vec::new(),
            kills: 0,
        }
    }

    /// Starts a pod of a name of its own.
    pub fn add(&mut self) -> String {
        let name = format!("pod-{}", self.started);
        self.start(name.clone());
        name
    }

    fn start(&mut self, name: String) {
        self.started += 1;
        let pod = Pod::spawn(&self.site.pod_config(&name, self.delivery));
        self.members.push(Member { name, pod, frozen: false, replaced: false });
    }

    /// SIGKILL of any pod; `absence` later one of the same name, or of another, is started.
    pub fn kill_any(&mut self, rng: &mut StdRng, same_name: bool, absence: Duration) -> Option<String> {
        let at = self.any_awake(rng)?;
        let Member { name, pod, .. } = self.members.swap_remove(at);
        pod.kill9();
        self.kills += 1;
        self.gone.push(pod);
        let next = if same_name { name.clone() } else { format!("pod-{}", self.started) };
        self.after(absence, Later::Start { name: next });
        Some(name)
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

    /// SIGTERM of any pod, but for the last one, and its end.
    pub fn remove_any(&mut self, rng: &mut StdRng) -> Option<String> {
        if self.members.len() < 2 {
            return None;
        }
        let at = self.any_awake(rng)?;
        let Member { name, pod, .. } = self.members.swap_remove(at);
        self.end(&name, &pod);
        self.gone.push(pod);
        Some(name)
    }

    /// SIGKILL of a server; it is started again after `absence`.
    pub fn kill_server(&mut self, index: usize, absence: Duration) {
        self.site.servers[index].kill();
        self.after(absence, Later::StartServer { index });
    }

    /// True while this server is down.
    pub fn is_server_down(&self, index: usize) -> bool {
        self.later.iter().any(|(_, later)| matches!(later, Later::StartServer { index: i } if *i == index))
    }

    fn any_awake(&self, rng: &mut StdRng) -> Option<usize> {
        let awake: Vec<usize> = (0..self.members.len()).filter(|&i| !self.members[i].frozen).collect();
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
            }
        }
        self.bury();
    }

    fn thaw(&mut self, pid: i32) {
        if let Some(member) = self.members.iter_mut().find(|member| member.pod.pid() == pid) {
            member.pod.signal(Signal::CONT);
            member.frozen = false;
        }
    }

    fn bury(&mut self) {
        while let Some(at) = self.members.iter().position(|member| !member.pod.is_running()) {
            let Member { name, pod, replaced, .. } = self.members.swap_remove(at);
            if !replaced {
                self.exits.push(format!("{name} ended by itself\n{}", pod.log_tail(5)));
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
        for member in &self.members {
            member.pod.signal(Signal::TERM);
        }
        for Member { name, pod, .. } in std::mem::take(&mut self.members) {
            self.end(&name, &pod);
            self.gone.push(pod);
        }
    }

    fn end(&mut self, name: &str, pod: &Pod) {
        pod.signal(Signal::TERM);
        match pod.wait_exit_status(EXIT) {
            Some(status) if status.success() => {}
            Some(status) => {
                self.exits.push(format!("{name} ended with {status} on SIGTERM\n{}", pod.log_tail(5)));
            }
            None => {
                self.exits.push(format!("{name} did not end on SIGTERM\n{}", pod.log_tail(20)));
                pod.kill9();
            }
        }
    }
}
