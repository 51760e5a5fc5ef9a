//! The rules shown, and their order.

use std::cmp::Ordering;

use mcr_api::control::RuleStats;

use crate::units::total;

/// What is reckoned of a rule's statistics once, and then sorted by and drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Flow {
    /// Copies sent a second, to all outputs.
    pub(super) out_per_s: f64,
    /// Their payload bits.
    pub(super) out_bits_per_s: f64,
    /// Copies not sent a second, for every reason.
    pub(super) errors_per_s: f64,
    /// Copies sent since the daemon's start.
    pub(super) sent: u64,
    /// Their payload bytes.
    pub(super) sent_bytes: u64,
    /// Copies not sent since then.
    pub(super) errors: u64,
}

impl Flow {
    /// The sums over a rule's outputs.
    pub(super) fn of(rule: &RuleStats) -> Self {
        let mut flow = Self::default();
        for output in &rule.outputs {
            flow.out_per_s += output.sent_per_s;
            flow.out_bits_per_s += output.bits_per_s;
            flow.errors_per_s += output.errors_per_s;
            flow.sent = flow.sent.wrapping_add(output.sent);
            flow.sent_bytes = flow.sent_bytes.wrapping_add(output.bytes);
            flow.errors = flow.errors.wrapping_add(total(&output.errors));
        }
        flow
    }
}

/// The column that rules are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Column {
    /// The id.
    #[default]
    Id,
    /// The name.
    Name,
    /// The input.
    Input,
    /// Datagrams a second.
    In,
    /// Their bits a second.
    InBits,
    /// Copies sent a second.
    Out,
    /// Their bits a second.
    OutBits,
    /// Copies not sent a second.
    Errors,
    /// The age of the last datagram.
    Last,
}

impl Column {
    const ALL: [Self; 9] = [
        Self::Id,
        Self::Name,
        Self::Input,
        Self::In,
        Self::InBits,
        Self::Out,
        Self::OutBits,
        Self::Errors,
        Self::Last,
    ];

    /// The column that rules are sorted by, in words.
    pub(super) fn about(self) -> &'static str {
        match self {
            Self::InBits => "bit/s in",
            Self::OutBits => "bit/s out",
            Self::Id => "id",
            Self::Name => "name",
            Self::Input => "input",
            Self::In => "in/s",
            Self::Out => "out/s",
            Self::Errors => "err/s",
            Self::Last => "last",
        }
    }

    fn beside(self, steps: isize) -> Self {
        let place = self as isize + steps;
        Self::ALL[place.rem_euclid(Self::ALL.len() as isize) as usize]
    }
}

/// The order of the rules: text from its beginning, rates from the highest, ages from the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// The column that they are sorted by.
    pub(super) column: Column,
    /// Whether the other way round.
    pub(super) is_reversed: bool,
}

impl Order {
    /// By the column so many to the right.
    pub(super) fn beside(self, steps: isize) -> Self {
        Self { column: self.column.beside(steps), is_reversed: false }
    }

    /// The other way round.
    pub(super) fn reversed(self) -> Self {
        Self { is_reversed: !self.is_reversed, ..self }
    }

    /// Sorts places among the rules; what is equal stands in the order of ids.
    pub(super) fn sort(self, places: &mut [usize], rules: &[RuleStats], flows: &[Flow]) {
        places.sort_unstable_by(|&a, &b| {
            let (one, other) = ((&rules[a], &flows[a]), (&rules[b], &flows[b]));
            let order = self.column.compare(one, other);
            let order = if self.is_reversed { order.reverse() } else { order };
            order.then(one.0.id.cmp(&other.0.id))
        });
    }
}

impl Column {
    fn compare(
        self,
        (a, a_flow): (&RuleStats, &Flow),
        (b, b_flow): (&RuleStats, &Flow),
    ) -> Ordering {
        /// `None` comes last.
        fn age(rule: &RuleStats) -> u64 {
            rule.last_packet_age_ms.unwrap_or(u64::MAX)
        }
        match self {
            Self::Id => a.id.cmp(&b.id),
            // Those without one last.
            Self::Name => (a.name.is_none(), &a.name).cmp(&(b.name.is_none(), &b.name)),
            Self::Input => a.input.cmp(&b.input),
            Self::In => b.packets_per_s.total_cmp(&a.packets_per_s),
            Self::InBits => b.bits_per_s.total_cmp(&a.bits_per_s),
            Self::Out => b_flow.out_per_s.total_cmp(&a_flow.out_per_s),
            Self::OutBits => b_flow.out_bits_per_s.total_cmp(&a_flow.out_bits_per_s),
            Self::Errors => (b_flow.errors_per_s, b_flow.errors)
                .partial_cmp(&(a_flow.errors_per_s, a_flow.errors))
                .unwrap_or(Ordering::Equal),
            Self::Last => age(a).cmp(&age(b)),
        }
    }
}

/// Whether a rule's name, input or an output holds the text, which is in lower case.
pub(super) fn matches(rule: &RuleStats, text: &str) -> bool {
    let holds = |field: &str| field.to_lowercase().contains(text);
    text.is_empty()
        || rule.name.as_deref().is_some_and(holds)
        || holds(&rule.input)
        || rule.outputs.iter().any(|output| holds(&output.to))
}
