//! Snapshots made up for tests, and a screen without a terminal.

use std::collections::BTreeMap;
use std::time::Duration;

use mcr_api::control::{
    CoreRates, CoreReport, CoreStats, OutputStats, Rates, RingStats, RuleState, RuleStats, Stats,
    WorkerState, WorkerStatus,
};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::top::draw::{self, Look};
use crate::top::keys;
use crate::top::model::Model;
use crate::top::snapshot::Snapshot;

/// A screen and what is on it.
pub(super) struct Screen {
    pub(super) model: Model,
    pub(super) terminal: Terminal<TestBackend>,
}

impl Screen {
    /// One of this size that was shown the snapshots.
    pub(super) fn showing(
        (width, height): (u16, u16),
        snapshots: impl IntoIterator<Item = Snapshot>,
    ) -> Self {
        let mut model = Model::new(Duration::from_secs(1));
        model.resize(draw::page_rows(height));
        for snapshot in snapshots {
            model.show(snapshot);
        }
        let terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        Self { model, terminal }
    }

    /// Presses keys one after the other.
    pub(super) fn press(&mut self, codes: impl IntoIterator<Item = KeyCode>) {
        for code in codes {
            let key = KeyEvent::new(code, KeyModifiers::NONE);
            if let Some(action) = keys::action(key, self.model.is_typing) {
                self.model.act(action);
            }
        }
    }

    /// Presses the keys of a text.
    pub(super) fn type_text(&mut self, text: &str) {
        self.press(text.chars().map(KeyCode::Char));
    }

    /// Draws it.
    pub(super) fn draw(&mut self) -> &TestBackend {
        let look = Look { has_colour: true };
        self.terminal.draw(|frame| draw::draw(&self.model, look, frame)).unwrap();
        self.terminal.backend()
    }

    /// The names and ids in the list of rules, from above.
    pub(super) fn ids(&self) -> Vec<u64> {
        self.model.shown.iter().map(|place| self.model.rules()[*place].id).collect()
    }

    /// The id of the rule at the cursor.
    pub(super) fn chosen(&self) -> u64 {
        self.ids()[self.model.cursor()]
    }
}

/// A rule with one output that relays so much.
pub(super) fn rule(id: u64, name: Option<&str>, per_s: f64) -> RuleStats {
    let (high, low) = (id / 250, id % 250);
    RuleStats {
        id,
        name: name.map(Into::into),
        input: format!("239.1.{high}.{low}:5000@eth0"),
        state: RuleState::Active,
        packets: 20 * per_s as u64,
        bytes: 20 * per_s as u64 * 1000,
        packets_per_s: per_s,
        bits_per_s: per_s * 8000.0,
        last_packet_age_ms: Some(12),
        last_source: Some("10.0.0.7:33333".into()),
        source_workers: 1,
        outputs: vec![output(&format!("239.2.{high}.{low}:6000@eth1"), per_s)],
    }
}

/// An output that sends so much.
pub(super) fn output(to: &str, per_s: f64) -> OutputStats {
    OutputStats {
        to: to.into(),
        sent: 20 * per_s as u64,
        bytes: 20 * per_s as u64 * 1000,
        sent_per_s: per_s,
        bits_per_s: per_s * 8000.0,
        ..OutputStats::default()
    }
}

/// A daemon of two workers with these rules, so many seconds after its start.
pub(super) fn snapshot(uptime_s: f64, rules: Vec<RuleStats>) -> Snapshot {
    let per_s: f64 = rules.iter().map(|rule| rule.packets_per_s).sum();
    let sent_per_s: f64 =
        rules.iter().flat_map(|rule| &rule.outputs).map(|output| output.sent_per_s).sum();
    let totals = CoreStats {
        received: (per_s * uptime_s) as u64,
        matched: (per_s * uptime_s) as u64,
        sent: (sent_per_s * uptime_s) as u64,
        sent_bytes: (sent_per_s * uptime_s * 1000.0) as u64,
        drops: reasons(["bad_checksum", "no_rule", "truncated"], 0),
        errors: reasons(["no_route", "queue_full", "too_long"], 0),
        ..CoreStats::default()
    };
    let rates = Rates {
        received_per_s: per_s,
        matched_per_s: per_s,
        sent_per_s,
        sent_bits_per_s: sent_per_s * 8000.0,
        ..Rates::default()
    };
    let stats = Stats {
        uptime_s,
        totals,
        rates,
        cores: [0, 1].map(|worker| core(worker, per_s / 2.0)).into(),
        rings: [0, 1].map(|worker| ring(worker, per_s / 2.0)).into(),
        rules,
        ..Stats::default()
    };
    Snapshot { stats, workers: [0, 1].map(worker).into(), problems: BTreeMap::new() }
}

/// Each of the reasons with this count.
pub(super) fn reasons<N: Copy>(names: [&str; 3], count: N) -> BTreeMap<String, N> {
    names.into_iter().map(|name| (name.to_owned(), count)).collect()
}

fn core(worker: u32, per_s: f64) -> CoreReport {
    let rates = CoreRates {
        busy_share: per_s / 100_000.0,
        frames_per_s: per_s,
        batches_per_s: per_s / 8.0,
        sent_per_s: 2.0 * per_s,
        ..CoreRates::default()
    };
    CoreReport { worker, core: 2 + worker, rates, ..CoreReport::default() }
}

fn ring(worker: u32, per_s: f64) -> RingStats {
    RingStats {
        worker,
        interface: "eth0".into(),
        slots: 4096,
        slot_bytes: 2048,
        in_use: 7,
        high_water: 311,
        received_per_s: per_s,
        ..RingStats::default()
    }
}

fn worker(worker: u32) -> WorkerStatus {
    WorkerStatus {
        worker,
        core: 2 + worker,
        pid: Some(4711 + worker),
        state: WorkerState::Running,
        io: None,
        confinement: None,
        generation: 3,
        in_sync: true,
        rules: 3,
        heartbeat_age_ms: Some(1),
        overloaded: false,
        longest_turn_us: 900,
        restarts: 0,
        backoff_left_ms: None,
        commands_lost: 0,
        repairs: 0,
        last_exit: None,
    }
}

/// Seconds of a daemon with three rules: traffic that rises, steady traffic to two outputs, none.
pub(super) fn three_rules() -> Vec<Snapshot> {
    let at = |second: u32| {
        let rising = rule(1, Some("camera-1"), f64::from(second) * 1_000.0);
        let mut steady = rule(2, Some("video"), 12_345.0);
        steady.outputs.push(output("10.9.0.4:7000@eth2", 12_345.0));
        let mut silent = rule(12, None, 0.0);
        silent.last_packet_age_ms = None;
        silent.last_source = None;
        snapshot(11_500.0 + f64::from(second), vec![rising, steady, silent])
    };
    (0..=8).map(at).collect()
}

/// Three rules of which one waits and one does not get rid of all, a worker that dies again and
/// again, and rings that were full.
pub(super) fn troubled() -> Snapshot {
    let mut snapshot = three_rules().pop().unwrap();
    let Snapshot { stats, workers, problems } = &mut snapshot;
    stats.rules[2].state = RuleState::Pending;
    problems.insert(12, vec!["interface eth7 does not exist".into()]);
    problems.insert(2, vec!["10.9.0.4:7000@eth2: no route to the host by eth2".into()]);
    let lossy = &mut stats.rules[1].outputs[1];
    lossy.errors = [("queue_full".to_owned(), 77), ("no_route".to_owned(), 1_234_567)].into();
    lossy.errors_per_s = 12.5;
    lossy.unreachable = 3;
    stats.totals.kernel_drops = 40_000;
    stats.rates.kernel_drops_per_s = 1_500.0;
    stats.totals.drops.insert("no_rule".into(), 900);
    stats.totals.errors.extend(stats.rules[1].outputs[1].errors.clone());
    stats.rates.errors_per_s = 12.5;
    stats.rates.drops_per_s = 30.0;
    stats.cores[0].rates.drops_per_s = reasons(["no_rule", "own", "truncated"], 10.0);
    stats.cores[1].rates.drops_per_s.insert("no_rule".into(), 20.0);
    stats.cores[0].rates.errors_per_s.insert("no_route".into(), 12.5);
    stats.rings[1].kernel_drops = 40_000;
    stats.rings[1].kernel_drops_per_s = 1_500.0;
    stats.rings[1].exhausted = 9;
    workers[1].state = WorkerState::BackingOff;
    workers[1].pid = None;
    workers[1].in_sync = false;
    workers[1].restarts = 13;
    workers[1].backoff_left_ms = Some(9_900);
    workers[1].last_exit = Some("was killed by signal 9".into());
    snapshot
}

/// The most rules that a daemon takes, in an order that no column has.
pub(super) fn ten_thousand() -> Snapshot {
    let rules = (0..10_000_u64).map(|number| {
        let id = 1 + number * 7_919 % 10_000;
        rule(id, Some(&format!("flow-{id}")), (id % 100) as f64)
    });
    snapshot(90_061.0, rules.collect())
}
