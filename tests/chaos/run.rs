//! One run: feed, disturb, calm down, audit.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::answers::Reader;
use crate::audit::Audit;
use crate::brokers::BrokerEvent;
use crate::events::{Dealer, Event, absence, frozen, gap};
use crate::figures::Figures;
use crate::fleet::Fleet;
use crate::gaps::Gaps;
use crate::network::NetworkEvent;
use crate::plan::{CONNECTIONS, Plan, Task};
use crate::settings::Settings;
use crate::site::{Site, TOTAL};
use crate::support::client::Sender;
use crate::support::tunnel::Relay;
use crate::support::wait::try_wait_for;

/// For the offsets to follow the last answer.
const COMMITTED: Duration = Duration::from_secs(60);
/// All is answered: what would still come late, comes now.
const IDLE: Duration = Duration::from_secs(3);
/// For the temp files of the dead to be swept: some looks at every directory, and for those that somebody else's
/// transaction keeps Kafka from judging, that one's timeout.
const SWEPT: Duration = Duration::from_secs(60);

/// # Panics
/// Where anything is lost, duplicated, wrong or left; what the processes logged is kept then.
pub fn run(settings: &Settings) {
    let Settings { tasks, pods, brokers, seed, delivery, redo, .. } = settings;
    eprintln!("chaos: seed {seed}, {tasks} tasks, {pods} pods, {brokers} brokers, {delivery}");
    let begun = Instant::now();
    let plan = Plan::new(*tasks, *seed, *redo);
    let mut site = Site::new(&plan, settings.server_rate(), settings.brokers, settings.network);
    site.protocol.clone_from(&settings.protocol);
    site.tunnel = settings.tunnel.then(|| Relay::proxied(site.servers[0].addr()));
    let mut reader = Reader::new(&site.kafka, &site.topics, "read_committed");
    let (first, rest) = plan.tasks.split_at(tasks / 2);
    let fed = AtomicUsize::new(0);
    feed(&site, first, Duration::ZERO, &fed);
    let mut fleet = Fleet::new(&site, delivery);
    for _ in 0..*pods {
        fleet.add();
    }
    let mut gaps = Gaps::default();
    let all_answered = std::thread::scope(|scope| {
        scope.spawn(|| feed(&site, rest, settings.feed(), &fed));
        let rng = StdRng::seed_from_u64(!seed);
        let mut story = Story {
            begun: Instant::now(),
            site: &site,
            fleet: &mut fleet,
            rng,
            scope,
            broker_away: settings.broker_away,
            broker: None,
            gaps: &mut gaps,
            fed: &fed,
        };
        story.tell(&mut reader, settings)
    });
    let lag = if all_answered { wait_for_commits(&site, &mut fleet) } else { site.kafka.lag(&site.topics) };
    let stood = site.temp_files();
    let swept = wait_for_sweeps(&site, &mut fleet);
    fleet.stop();

    let mut reader = Reader::new(&site.kafka, &site.topics, "read_committed");
    reader.read_to_end(&site.kafka);
    let mut all = Reader::new(&site.kafka, &site.topics, "read_uncommitted");
    all.read_to_end(&site.kafka);
    let audit = Audit::of(&plan, &reader.answers, &site);
    let figures = Figures {
        tasks: site.records(),
        answers: reader.answers.len(),
        audit: &audit,
        fleet: &fleet,
        rebalances: site.rebalances(),
        aborted_answers: all.answers.len() - reader.answers.len(),
        stood,
        swept,
        gaps: &gaps,
        sessions: site.gate.as_ref().map_or(0, |gate| gate.count().most()),
        seconds: begun.elapsed().as_secs(),
    };
    eprintln!("chaos: seed {seed}: {figures}");
    if let Some(report) = &settings.report {
        figures.report(settings, report);
    }
    let bad_ends = fleet.bad_ends.join("\n");
    assert!(
        audit.is_clean() && lag == 0 && bad_ends.is_empty(),
        "{}\nlag at the end: {lag}\n{bad_ends}",
        audit.examples()
    );
    assert!(figures.sessions <= TOTAL, "{} sessions at once, of {TOTAL}", figures.sessions);
    assert_eq!(site.records(), *tasks as i64, "the feed itself lost or doubled tasks");
}

/// Sends tasks evenly over `span`, and counts those that the brokers have.
fn feed(site: &Site, tasks: &[Task], span: Duration, fed: &AtomicUsize) {
    let begun = Instant::now();
    let sender = Sender::new(&site.kafka);
    let seconds = usize::try_from(span.as_secs()).unwrap_or(usize::MAX).max(1);
    for (n, some) in (0..).zip(tasks.chunks(tasks.len().div_ceil(seconds).max(1))) {
        std::thread::sleep(Duration::from_secs(n).saturating_sub(begun.elapsed()));
        sender.send(&site.topics.tasks, some.iter().map(Task::record));
        fed.fetch_add(some.len(), Ordering::Relaxed);
    }
}

/// Every record committed: 0, or how many are not.
fn wait_for_commits(site: &Site, fleet: &mut Fleet<'_>) -> i64 {
    let mut lag = 0;
    try_wait_for(COMMITTED, || {
        fleet.tend();
        lag = site.kafka.lag(&site.topics);
        (lag == 0).then_some(())
    });
    std::thread::sleep(IDLE);
    lag
}

/// No temp file stands any more: seconds that it took. What stays is the audit's.
fn wait_for_sweeps(site: &Site, fleet: &mut Fleet<'_>) -> u64 {
    let begun = Instant::now();
    try_wait_for(SWEPT, || {
        fleet.tend();
        (site.temp_files() == 0).then_some(())
    });
    begun.elapsed().as_secs()
}

struct Story<'a, 'scope, 'env> {
    begun: Instant,
    site: &'env Site,
    fleet: &'a mut Fleet<'env>,
    rng: StdRng,
    scope: &'scope Scope<'scope, 'env>,
    broker_away: Duration,
    /// The broker's way back, or what happens to a cluster of them.
    broker: Option<ScopedJoinHandle<'scope, ()>>,
    gaps: &'a mut Gaps,
    /// How many tasks are in Kafka: without any that is not answered the pods have nothing to do.
    fed: &'a AtomicUsize,
}

impl Story<'_, '_, '_> {
    /// Lets things happen, each kind once at least; then all tasks must be answered. False where they are not.
    fn tell(&mut self, reader: &mut Reader, settings: &Settings) -> bool {
        let mut dealer = Dealer::new(&settings.only, &settings.deck());
        let mut answered = Answered::default();
        let deadline = self.begun + settings.deadline();
        let mut next = None; // until work is under way
        while dealer.dealt() < settings.events_at_least()
            || dealer.dealt() < settings.events_at_most() && answered.count(reader) < settings.tasks / 10 * 9
        {
            if !self.fleet.bad_ends.is_empty() {
                break; // more of it would only hide what it was
            }
            if Instant::now() >= deadline {
                eprintln!(
                    "chaos: deadline after {:?}; kept undisturbed for a last look",
                    settings.deadline()
                );
                break;
            }
            self.look(reader, &mut answered);
            if next.is_none() && answered.count(reader) > 0 {
                next = Some(Instant::now() + gap(&mut self.rng));
            }
            if next.is_some_and(|next| Instant::now() >= next) && !self.is_waiting_for_brokers(settings) {
                let event = dealer.deal(&mut self.rng);
                self.happen(event, answered.count(reader));
                next = Some(Instant::now() + gap(&mut self.rng));
            }
        }
        self.fleet.calm();
        if let Some(broker) = self.broker.take() {
            broker.join().expect("the broker comes back");
        }
        // Undisturbed, what is left must be answered, too.
        let all_answered =
            try_wait_for(deadline.saturating_duration_since(Instant::now()) + COMMITTED, || {
                self.look(reader, &mut answered);
                let is_answered = answered.count(reader) >= settings.tasks;
                (is_answered || !self.fleet.bad_ends.is_empty()).then_some(is_answered)
            });
        all_answered == Some(true)
    }

    /// Takes what answers there are, and looks after the pods.
    fn look(&mut self, reader: &mut Reader, answered: &mut Answered) {
        let before = reader.answers.len();
        reader.poll(Duration::from_millis(50));
        self.fleet.tend();
        let has_new = reader.answers.len() > before;
        let has_open = answered.count(reader) < self.fed.load(Ordering::Relaxed);
        self.gaps.look(has_new, has_open, Instant::now());
    }

    /// What happens to a cluster is over before anything else happens: so a gap without answers has one cause.
    fn is_waiting_for_brokers(&self, settings: &Settings) -> bool {
        settings.is_one_by_one() && self.broker.as_ref().is_some_and(|event| !event.is_finished())
    }

    fn happen(&mut self, event: Event, answered: usize) {
        let (fleet, rng) = (&mut *self.fleet, &mut self.rng);
        let to = match event {
            Event::Kill | Event::KillForAnother => {
                let absence = absence(rng);
                fleet.kill_any(rng, event == Event::Kill, absence)
            }
            Event::Freeze | Event::FreezeAndReplace => {
                let span = frozen(rng);
                fleet.freeze_any(rng, span, event == Event::FreezeAndReplace)
            }
            Event::KillAll => {
                fleet.kill_all(absence(rng));
                None
            }
            Event::KillBroker => {
                self.kill_broker();
                None
            }
            Event::RestartServer => {
                let index = rng.random_range(0..CONNECTIONS.len());
                let absence = absence(rng);
                if !fleet.is_server_down(index) {
                    fleet.kill_server(index, absence);
                }
                Some(CONNECTIONS[index].to_owned())
            }
            Event::Add => Some(fleet.add()),
            Event::Remove => fleet.remove_any(rng),
            Event::Reload => fleet.reload_any(rng),
            Event::KillFrps | Event::KillFarClient | Event::FreezeFrps => {
                fleet.disturb_tunnel(event, absence(rng));
                None
            }
            event if event.is_of_network() => Some(self.happen_to_network(event)),
            _ => {
                self.happen_to_brokers(event);
                None
            }
        };
        self.gaps.happened(event, Instant::now());
        let at = self.begun.elapsed().as_secs_f64();
        eprintln!("  {at:6.1} s, {answered} answered: {event:?} {}", to.unwrap_or_default());
    }

    fn happen_to_network(&mut self, event: Event) -> String {
        let chosen = NetworkEvent::choose(event, &mut self.rng);
        let (site, about) = (self.site, chosen.about());
        self.broker = Some(self.scope.spawn(move || chosen.happen(site)));
        about
    }

    fn happen_to_brokers(&mut self, event: Event) {
        debug_assert!(event.is_of_cluster(), "{event:?}");
        if let Some(before) = self.broker.take() {
            before.join().expect("what happened to the brokers before is over");
        }
        let pod = self.fleet.any_name(&mut self.rng);
        let chosen = BrokerEvent::choose(event, self.site, pod.as_deref(), &mut self.rng);
        let site = self.site;
        self.broker = Some(self.scope.spawn(move || chosen.happen(site)));
    }

    /// Its way back takes some seconds: meanwhile other things happen.
    fn kill_broker(&mut self) {
        let absence = absence(&mut self.rng) + self.broker_away;
        if self.broker.as_ref().is_some_and(|back| !back.is_finished()) {
            return;
        }
        let kafka = &self.site.kafka;
        kafka.kill();
        self.broker = Some(self.scope.spawn(move || {
            std::thread::sleep(absence);
            kafka.restart();
        }));
    }
}

/// Tasks that have an answer.
#[derive(Default)]
struct Answered {
    ids: HashSet<String>,
    seen: usize,
}

impl Answered {
    fn count(&mut self, reader: &Reader) -> usize {
        self.ids.extend(reader.answers[self.seen..].iter().map(|answer| answer.task_id.clone()));
        self.seen = reader.answers.len();
        self.ids.len()
    }
}
