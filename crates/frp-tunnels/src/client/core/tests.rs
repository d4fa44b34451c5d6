use super::*;
use crate::admin::ProxyReport;
use crate::lines::LineMeaning;
use crate::spec::LocalService;
use proptest::prelude::*;

/// A core with a clock of its own.
struct Bench {
    core: ClientCore,
    start: Instant,
    millis: u64,
}

impl Bench {
    fn new(servers: usize) -> Self {
        Self { core: ClientCore::new(Timing::default(), servers), start: Instant::now(), millis: 0 }
    }

    fn now(&self) -> Moment {
        let timestamp = Timestamp::from_millisecond(i64::try_from(self.millis).unwrap()).unwrap();
        Moment { instant: self.start + Duration::from_millis(self.millis), timestamp }
    }

    fn add(&mut self, name: &str) {
        let spec = TunnelSpec::tcp(LocalService::port(80), Some(6000)).named(name);
        let now = self.now();
        self.core.add(name.to_owned(), spec, None, now);
    }

    /// Time passes; what is due is given back.
    fn after(&mut self, millis: u64) -> Vec<Action> {
        self.millis += millis;
        self.core.tick(self.now());
        self.core.take_actions()
    }

    fn line(&mut self, meaning: LineMeaning) {
        let now = self.now();
        self.core.line(meaning, now);
    }

    fn started(&mut self) {
        let now = self.now();
        self.core.process_started(7, "frps.test:7000".into(), now);
    }

    /// A process that is logged in and has taken the tunnel.
    fn up(name: &str) -> Self {
        let mut bench = Self::new(1);
        bench.add(name);
        assert_eq!(bench.after(0), [Action::Start { server: 0 }]);
        bench.started();
        bench.line(LineMeaning::LoggedIn);
        bench.line(LineMeaning::Started(name.to_owned()));
        bench.probed(name, Ok(()));
        assert_eq!(bench.state(name), "connected");
        bench
    }

    /// Runs the probe that is due.
    fn probed(&mut self, name: &str, result: Result<(), Failure>) {
        let actions = self.after(0);
        let generation = actions.iter().find_map(|action| match action {
            Action::Probe { tunnel, generation } if tunnel == name => Some(*generation),
            _ => None,
        });
        let now = self.now();
        self.core.probed(name, generation.expect("a probe is due"), result, now);
    }

    fn state(&self, name: &str) -> &'static str {
        self.core.tunnels()[name].status.state.label()
    }

    fn class(&self, name: &str) -> Option<FailureClass> {
        self.core.tunnels()[name].status.state.failure().map(|failure| failure.class)
    }
}

fn probe_failed() -> Result<(), Failure> {
    Err(Failure::new(FailureClass::ProbeFailed, "closed at once"))
}

#[test]
fn accepted_is_not_connected_until_the_probe_succeeds() {
    let mut bench = Bench::new(1);
    bench.add("t");
    bench.after(0);
    bench.started();
    bench.line(LineMeaning::LoggedIn);
    bench.line(LineMeaning::Started("t".into()));
    assert_eq!(bench.state("t"), "connecting");
    bench.probed("t", probe_failed());
    assert_eq!(bench.state("t"), "connecting");
    bench.after(500);
    bench.core.take_actions();
    bench.millis += 20_000;
    bench.after(0);
    assert_eq!((bench.state("t"), bench.class("t")), ("error", Some(FailureClass::ProbeFailed)));
}

#[test]
fn a_tunnel_that_is_awaited_is_probed_every_two_seconds_until_its_deadline() {
    let mut bench = Bench::new(1);
    bench.add("web");
    bench.after(0);
    bench.started();
    bench.line(LineMeaning::LoggedIn);
    bench.line(LineMeaning::Started("web".to_owned()));
    let deadline = u64::try_from(bench.core.timing.connect_deadline.as_millis()).unwrap();
    while bench.millis + 2_000 < deadline {
        bench.probed("web", probe_failed());
        let due = bench.core.tunnels()["web"].probe_at.expect("a next probe");
        let wait = due.saturating_duration_since(bench.now().instant);
        assert!(wait <= Duration::from_secs(2), "{wait:?}");
        bench.millis += u64::try_from(wait.as_millis()).unwrap() + 1;
    }
    assert_eq!(bench.state("web"), "connecting");
    bench.probed("web", Ok(()));
    assert_eq!(bench.state("web"), "connected");
}

#[test]
fn frpcs_words_explain_a_failed_probe_at_once() {
    let mut bench = Bench::new(1);
    bench.add("t");
    bench.after(0);
    bench.started();
    bench.line(LineMeaning::LoggedIn);
    bench.line(LineMeaning::Started("t".into()));
    let reason = "connect to local service [127.0.0.1:80] error: refused".to_owned();
    bench.line(LineMeaning::LocalServiceDown { tunnel: "t".into(), reason });
    bench.probed("t", probe_failed());
    assert_eq!((bench.state("t"), bench.class("t")), ("error", Some(FailureClass::LocalServiceDown)));
    // the service is there: the next probe says so
    bench.millis += 1000;
    bench.probed("t", Ok(()));
    assert_eq!(bench.state("t"), "connected");
}

#[test]
fn a_connected_tunnel_is_in_doubt_thrice_before_it_is_called_disconnected() {
    let mut bench = Bench::up("t");
    for wait in [30_000, 1000] {
        bench.millis += wait;
        bench.probed("t", probe_failed());
        assert_eq!(bench.state("t"), "connected");
    }
    bench.millis += 1000;
    bench.probed("t", probe_failed());
    assert_eq!(bench.state("t"), "disconnected");
    bench.millis += 1000;
    bench.probed("t", Ok(()));
    assert_eq!(bench.state("t"), "connected");
    assert_eq!(bench.core.tunnels()["t"].status.connections, 2);
}

#[test]
fn a_lost_session_that_does_not_come_back_has_the_process_started_anew() {
    let mut bench = Bench::up("t");
    bench.line(LineMeaning::Connecting);
    assert_eq!((bench.state("t"), bench.class("t")), ("disconnected", Some(FailureClass::ServerUnreachable)));
    bench.line(LineMeaning::ConnectFailed("dial tcp: connect: connection refused".into()));
    assert_eq!(bench.after(9_999), []);
    assert_eq!(bench.after(1), [Action::Stop]);
    let now = bench.now();
    bench.core.process_ended("exit code 0".into(), None, now);
    assert_eq!(bench.after(250), [Action::Start { server: 0 }]);
}

#[test]
fn a_lost_session_fails_over_to_the_next_server() {
    let mut bench = Bench::new(2);
    bench.add("t");
    assert_eq!(bench.after(0), [Action::Start { server: 0 }]);
    bench.started();
    assert_eq!(bench.after(10_000), [Action::Stop]);
    let now = bench.now();
    bench.core.process_ended("exit code 0".into(), None, now);
    assert_eq!(bench.after(250), [Action::Start { server: 1 }]);
}

#[test]
fn a_wrong_token_is_told_at_once_and_tried_again_late() {
    let mut bench = Bench::new(1);
    bench.add("t");
    bench.after(0);
    bench.started();
    bench.line(LineMeaning::ConnectFailed("token in login doesn't match token from configuration".into()));
    assert_eq!((bench.state("t"), bench.class("t")), ("error", Some(FailureClass::AuthenticationFailed)));
    assert_eq!(bench.after(0), [Action::Stop]);
    let now = bench.now();
    bench.core.process_ended("exit code 0".into(), None, now);
    assert_eq!(bench.after(29_999), []);
    assert_eq!(bench.after(1), [Action::Start { server: 0 }]);
}

#[test]
fn a_configuration_that_frpc_refuses_is_not_tried_again_until_it_changes() {
    let mut bench = Bench::new(1);
    bench.add("t");
    bench.after(0);
    let failure = Failure::new(FailureClass::ConfigurationInvalid, "json: unknown field");
    let now = bench.now();
    bench.core.process_ended("not started".into(), Some(failure), now);
    assert_eq!((bench.state("t"), bench.class("t")), ("error", Some(FailureClass::ConfigurationInvalid)));
    assert_eq!(bench.after(1_000_000), []);
    bench.add("u");
    assert_eq!(bench.after(0), [Action::Start { server: 0 }]);
}

#[test]
fn a_refused_reload_leaves_out_only_what_is_new() {
    let mut bench = Bench::up("t");
    bench.add("u");
    assert_eq!(bench.after(0), [Action::Reload]);
    let now = bench.now();
    bench.core.reloaded(Err("invalid argument".into()), now);
    assert_eq!((bench.state("t"), bench.state("u")), ("connected", "error"));
    assert_eq!(bench.after(0), [Action::Reload]);
    assert_eq!(bench.core.wanted().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["t"]);
}

#[test]
fn a_taken_name_is_tried_again_before_frpc_would() {
    let mut bench = Bench::new(1);
    bench.add("t");
    bench.after(0);
    bench.started();
    bench.line(LineMeaning::LoggedIn);
    bench.line(LineMeaning::StartFailed { tunnel: "t".into(), reason: "proxy [t] already exists".into() });
    assert_eq!((bench.state("t"), bench.class("t")), ("error", Some(FailureClass::NameTaken)));
    assert_eq!(bench.after(500), []);
    assert_eq!(bench.after(0), [Action::Reload]);
    assert_eq!(bench.core.tunnels()["t"].attempt, 1);
}

#[test]
fn a_line_that_was_missed_is_made_up_for_by_the_status() {
    let mut bench = Bench::new(1);
    bench.add("t");
    bench.after(0);
    bench.started();
    bench.line(LineMeaning::LoggedIn);
    let report = ProxyReport {
        name: "t".into(),
        status: "running".into(),
        err: String::new(),
        remote_addr: ":6000".into(),
    };
    let now = bench.now();
    bench.core.status_reported(&[report], now);
    bench.probed("t", Ok(()));
    assert_eq!(bench.state("t"), "connected");
    bench.millis += 6000;
    let now = bench.now();
    bench.core.status_reported(&[], now);
    assert_eq!(bench.state("t"), "disconnected");
}

#[test]
fn a_visitor_listens_unless_its_address_was_refused() {
    let mut bench = Bench::new(1);
    for (name, port) in [("a", 2101), ("b", 2102)] {
        let bind = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let now = bench.now();
        bench.core.add(name.into(), TunnelSpec::stcp_visitor("far", "key".into(), bind), None, now);
    }
    bench.after(0);
    bench.started();
    bench.line(LineMeaning::LoggedIn);
    bench.line(LineMeaning::VisitorStartFailed(
        "listen tcp 127.0.0.1:2102: bind: address already in use".into(),
    ));
    bench.line(LineMeaning::VisitorsAdded(vec!["a".into(), "b".into()]));
    bench.probed("a", Ok(()));
    assert_eq!((bench.state("a"), bench.class("b")), ("connected", Some(FailureClass::BindAddressTaken)));
    // frpc tries again by itself
    bench.line(LineMeaning::VisitorTried("b".into()));
    bench.line(LineMeaning::VisitorStarted);
    bench.probed("b", Ok(()));
    assert_eq!(bench.state("b"), "connected");
}

#[derive(Debug, Clone)]
enum Step {
    Add(u8),
    Remove(u8),
    Line(LineMeaning),
    Started,
    Ended(Option<FailureClass>),
    Reloaded(bool),
    Probed(u8, u64, bool),
    Status(Vec<(u8, bool)>),
    StatusFailed,
    Wait(u64),
}

fn any_line() -> impl Strategy<Value = LineMeaning> {
    let name = || (0..4_u8).prop_map(|name| format!("t{name}"));
    let reason = || {
        prop::sample::select(vec![
            "proxy [x] already exists",
            "token in login doesn't match",
            "EOF",
            "odd",
            "port not allowed",
        ])
        .prop_map(str::to_owned)
    };
    prop_oneof![
        Just(LineMeaning::Connecting),
        Just(LineMeaning::LoggedIn),
        reason().prop_map(LineMeaning::ConnectFailed),
        name().prop_map(LineMeaning::Started),
        (name(), reason()).prop_map(|(tunnel, reason)| LineMeaning::StartFailed { tunnel, reason }),
        (name(), reason()).prop_map(|(tunnel, reason)| LineMeaning::VisitorFailed { tunnel, reason }),
        name().prop_map(LineMeaning::HealthCheckFailed),
        name().prop_map(LineMeaning::VisitorTried),
        Just(LineMeaning::VisitorStarted),
        reason().prop_map(LineMeaning::VisitorStartFailed),
        prop::collection::vec(name(), 0..4).prop_map(LineMeaning::VisitorsAdded),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let class = prop::option::of(prop::sample::select(vec![
        FailureClass::ConfigurationInvalid,
        FailureClass::ProcessEnded,
        FailureClass::AdminPortTaken,
    ]));
    prop_oneof![
        (0..4_u8).prop_map(Step::Add),
        (0..4_u8).prop_map(Step::Remove),
        any_line().prop_map(Step::Line),
        any_line().prop_map(Step::Line),
        Just(Step::Started),
        class.prop_map(Step::Ended),
        any::<bool>().prop_map(Step::Reloaded),
        (0..4_u8, 0..20_u64, any::<bool>())
            .prop_map(|(name, generation, ok)| Step::Probed(name, generation, ok)),
        prop::collection::vec((0..4_u8, any::<bool>()), 0..4).prop_map(Step::Status),
        Just(Step::StatusFailed),
        (0..40_000_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens in whatever order: nothing panics, each announced step is one of the table, one process
    /// at most is wanted, and a wait for nothing never repeats itself.
    #[test]
    fn every_order_of_inputs_is_survived(steps in prop::collection::vec(any_step(), 0..120)) {
        let mut bench = Bench::new(2);
        let mut is_process_wanted = false;
        for step in steps {
            let now = bench.now();
            match step {
                Step::Add(name) if !bench.core.tunnels().contains_key(&format!("t{name}")) => bench.add(&format!("t{name}")),
                Step::Remove(name) => drop(bench.core.remove(&format!("t{name}"), now)),
                Step::Line(meaning) if is_process_wanted => bench.core.line(meaning, now),
                Step::Started if is_process_wanted => bench.started(),
                Step::Ended(class) if is_process_wanted => {
                    is_process_wanted = false;
                    bench.core.process_ended("x".into(), class.map(|class| Failure::new(class, "x")), now);
                }
                Step::Reloaded(ok) => bench.core.reloaded(if ok { Ok(()) } else { Err("no".into()) }, now),
                Step::Probed(name, generation, ok) => {
                    let result = if ok { Ok(()) } else { probe_failed() };
                    bench.core.probed(&format!("t{name}"), generation, result, now);
                }
                Step::Status(reports) => {
                    let reports: Vec<_> = reports.into_iter().map(|(name, runs)| ProxyReport {
                        name: format!("user.t{name}"),
                        status: if runs { "running" } else { "start error" }.into(),
                        err: "odd".into(),
                        remote_addr: String::new(),
                    }).collect();
                    bench.core.status_reported(&reports, now);
                }
                Step::StatusFailed => bench.core.status_failed(),
                Step::Wait(millis) => bench.millis += millis,
                Step::Add(_) | Step::Line(_) | Step::Started | Step::Ended(_) => {}
            }
            for action in bench.after(0) {
                if let Action::Start { server } = action {
                    prop_assert!(!is_process_wanted, "a second process");
                    prop_assert!(server < 2);
                    is_process_wanted = true;
                }
            }
            for event in bench.core.take_events() {
                if let TunnelEventKind::StateChanged { from, to, .. } = event.kind {
                    prop_assert!(from.may_become(&to), "{} to {}", from.label(), to.label());
                }
            }
            // what is due has been done: the next wake lies ahead, unless a probe or reload is awaited
            let now = bench.now().instant;
            bench.core.tick(bench.now());
            bench.core.take_actions();
            prop_assert!(bench.core.next_wake().is_none_or(|wake| wake > now), "wakes in the past");
        }
    }
}
