//! The results as tables.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};

use super::peers::Peer;
use super::results::{Figures, Outcome, Point, Results};
use super::scenario::Axis;
use super::search::Limit;
use super::targets::Bound;
use crate::limits;

/// Everything that a run found.
pub(super) fn whole(results: &Results) -> String {
    let mut text = heading(results);
    for axis in Axis::ALL {
        if results.on(axis).next().is_some() {
            // Writing to a string cannot fail, here and below.
            let _ = write!(text, "\n{}\n{}\n", axis.title(), rates(results, axis));
        }
    }
    if results.on(Axis::Peers).next().is_some() {
        let _ = write!(text, "\nlatency\n{}\n", latencies(results));
    }
    let _ = write!(text, "{}\ntargets\n{}\n", notes(results), targets(results));
    let _ = writeln!(text, "the run took {:.0} s", results.elapsed_s);
    text
}

fn targets(results: &Results) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["target (MCR by io_uring unless said)", "this run", "bound", ""]);
    for target in &results.targets {
        let figure = target.figure.map_or_else(|| "-".into(), |figure| format!("{figure:.2}"));
        // What the test bed limited may be better or worse in truth.
        let mark = if target.uncertain { "~ " } else { "" };
        let bound = match target.bound {
            Bound::AtLeast(least) => format!("≥ {least}"),
            Bound::AtMost(most) => format!("≤ {most}"),
        };
        let state = target.state.name().to_owned();
        table.add_row([target.name.to_owned(), format!("{mark}{figure}"), bound, state]);
    }
    align(&mut table, 1);
    table
}

fn heading(results: &Results) -> String {
    let machine = &results.machine;
    format!(
        "{}, {} cores{}, Linux {}, {}\n\
         relay on core {}, generator and sink on core {}; {} rounds; \
         others used {:.0} % of the relay's core; the generator offers up to {} kpps of 64 bytes\n",
        machine.cpu,
        machine.cores,
        if machine.virtualised { " (virtual machine)" } else { "" },
        machine.kernel,
        machine.date,
        results.cores.relay,
        results.cores.traffic,
        results.rounds(),
        results.foreign_load * 100.0,
        kpps(results.generator_ceiling),
    )
}

fn rates(results: &Results, axis: Axis) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "",
        "relay",
        "clean kpps in",
        "min-max",
        "kpps out",
        "ratio",
        "most out",
        "core ns",
        "worker ns",
        "calls",
        "MiB",
        "disorder",
    ]);
    for point in results.on(axis) {
        let mut row = vec![point.label.clone(), point.peer.name().to_owned()];
        match &point.outcome {
            Outcome::Unable(why) => row.push(format!("({why})")),
            Outcome::Measured(figures) => row.extend(cells(results, point, figures)),
        }
        table.add_row(row);
    }
    align(&mut table, 2);
    table
}

fn cells(results: &Results, point: &Point, figures: &Figures) -> [String; 10] {
    let clean = &figures.clean_per_second;
    let mark = match figures.limit {
        Limit::Relay => "",
        Limit::Generator => "≥ ",
        Limit::Sink => "≥* ",
    };
    let maybe = |figure: Option<f64>, digits: usize| {
        figure.map_or_else(|| "-".into(), |figure| format!("{figure:.digits$}"))
    };
    let cost = figures.cost;
    [
        format!("{mark}{}", kpps(clean.median)),
        format!("{}-{}", kpps(clean.min), kpps(clean.max)),
        point.out_per_second().map_or_else(String::new, kpps),
        maybe(ratio(results, point), 2),
        kpps(figures.goodput_per_second),
        maybe(cost.map(|cost| cost.core_ns), 0),
        maybe(cost.and_then(|cost| cost.worker_ns), 0),
        maybe(cost.and_then(|cost| cost.system_calls), 3),
        maybe(figures.resident_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)), 1),
        figures.disorder.to_string(),
    ]
}

/// Datagrams out against those of the kernel (on `Peers`), else of the axis's first point.
fn ratio(results: &Results, point: &Point) -> Option<f64> {
    let base = match point.axis {
        Axis::Peers => results.on(Axis::Peers).find(|p| p.peer == Peer::Kernel)?,
        _ => results.base(point)?,
    };
    let base = base.out_per_second().filter(|base| *base > 0.0)?;
    Some(point.out_per_second()? / base)
}

fn latencies(results: &Results) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["relay", "kpps", "p50 µs", "p99 µs", "p99.9 µs"]);
    for point in results.on(Axis::Peers) {
        for latency in point.figures().map(|figures| &figures.latency).into_iter().flatten() {
            let rate = latency.rate.map_or("half the clean rate".into(), kpps);
            let micros = [latency.p50_us, latency.p99_us, latency.p999_us];
            let [p50, p99, p999] = micros.map(|micros| format!("{micros:.1}"));
            table.add_row([point.peer.name().to_owned(), rate, p50, p99, p999]);
        }
    }
    align(&mut table, 1);
    table
}

fn notes(results: &Results) -> String {
    let method = &results.method;
    let mut text = format!(
        "\nclean: the highest rate with at most 0.5 % lost after the generator, known to {:.0} %; \
         steps of {} ms after {} ms of warm-up\n\
         ratio: datagrams out, against the kernel's forwarding (peers) or the axis's first point\n\
         most out: the most kpps out in any step, whatever was lost beside\n\
         core ns: time of the relay's core, soft interrupts included, for each datagram out at \
         100 kpps out or half the clean rate; worker ns: of it MCR's worker when it did not wait\n\
         calls: the workers' system calls for each datagram out\n\
         MCR: workers in real time (--scheduling realtime)\n\
         MiB: resident beside the receive rings; disorder: datagrams twice or out of order\n\
         ≥ limited by the generator, ≥* by the sink: the relay may carry more; ~ of such figures, \
         or of a machine that loses datagrams by itself\n\
         {} steps were repeated because the hypervisor took a core away\n",
        method.precision * 100.0,
        method.measured_ms,
        method.warm_up_ms,
        results.points.iter().filter_map(Point::figures).map(|f| f.repeated).sum::<u64>(),
    );
    if let Some(churn) = &results.churn {
        let _ = writeln!(
            text,
            "{:.0} rule changes a second beside {} kpps of another rule: {} of {} datagrams lost \
             ({} of as many just before, without changes)",
            churn.changes_per_second,
            kpps(churn.per_second),
            churn.lost,
            churn.sent,
            churn.lost_before,
        );
    }
    if results.foreign_load > limits::QUIET_LOAD {
        text += "others were at work on this machine: rates are too low, costs and latencies too \
                 high, and ratios uncertain\n";
    }
    if results.cores.second == results.cores.traffic && results.on(Axis::Workers).next().is_some() {
        text += "of two workers the second shares its core with generator and sink, and core ns \
                 is of the first's core alone: compare worker ns\n";
    }
    for peer in Peer::ALL {
        if let Some(shortcomings) = peer.shortcomings() {
            let _ = writeln!(text, "{}: {shortcomings}", peer.name());
        }
    }
    text
}

fn kpps(per_second: f64) -> String {
    let kpps = per_second / 1_000.0;
    if kpps < 100.0 { format!("{kpps:.1}") } else { format!("{kpps:.0}") }
}

fn align(table: &mut Table, first: usize) {
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
