//! The results as SVG charts: bars in groups, with the spread of the rounds as whiskers. Latencies
//! stand on a logarithmic scale, since relays differ by powers of ten.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::peers::Peer;
use super::results::{Point, Results};
use super::scenario::Axis;

/// Size of a chart, in pixels.
const SIZE: (u32, u32) = (900, 420);

/// The unit and scale of rates, and of latencies.
const RATE: (&str, Scale) = ("thousand datagrams a second", Scale::Linear);
const LATENCY: (&str, Scale) = ("microseconds, logarithmic", Scale::Logarithmic);

/// Each relay's colour, told apart by those who see few colours too (Okabe and Ito's set).
fn colour(peer: Peer) -> RGBColor {
    match peer {
        Peer::McrUring => RGBColor(0, 114, 178),
        Peer::McrExclusive => RGBColor(0, 158, 115),
        Peer::McrPoll => RGBColor(86, 180, 233),
        Peer::Kernel => RGBColor(230, 159, 0),
        Peer::Socat => RGBColor(120, 120, 120),
    }
}

/// The widest bar, to the width of a group: a single group must not fill the chart with a colour.
const WIDEST_BAR: f64 = 0.16;

/// Half the length of a whisker's caps, to the width of a group.
const HALF_CAP: f64 = 0.015;

/// Room above the highest bar, for its figure and the legend.
const HEADROOM: f64 = 0.5;

/// How a chart's values go up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    Linear,
    Logarithmic,
}

/// One bar: the median with its ends.
#[derive(Debug, Clone, Copy)]
struct Bar {
    group: usize,
    series: usize,
    value: f64,
    ends: (f64, f64),
}

/// What a chart shows.
#[derive(Debug)]
struct Chart {
    title: String,
    unit: &'static str,
    scale: Scale,
    groups: Vec<String>,
    series: Vec<Peer>,
    bars: Vec<Bar>,
}

/// Draws every chart that the results have figures for into `directory`.
pub(super) fn draw_all(results: &Results, directory: &Path) -> Result<()> {
    for axis in Axis::ALL {
        let chart = rates(results, axis);
        if !chart.bars.is_empty() {
            chart.draw(&directory.join(format!("{}.svg", axis.title())))?;
        }
    }
    for (name, figure) in [("p50", 0), ("p99", 1)] {
        let chart = latency(results, name, figure);
        if !chart.bars.is_empty() {
            chart.draw(&directory.join(format!("latency-{name}.svg")))?;
        }
    }
    Ok(())
}

/// Datagrams out at the clean rate.
fn rates(results: &Results, axis: Axis) -> Chart {
    let mut chart = Chart::new(format!("{}: datagrams out at the clean rate", axis.title()), RATE);
    for point in results.on(axis) {
        let Some(figures) = point.figures() else { continue };
        let clean = &figures.clean_per_second;
        let kpps = |rate: f64| rate * point.scenario.fan_out as f64 / 1_000.0;
        let ends = (kpps(clean.min), kpps(clean.max));
        chart.add(point.label.clone(), point.peer, kpps(clean.median), ends);
    }
    chart
}

fn latency(results: &Results, name: &str, figure: usize) -> Chart {
    let mut chart = Chart::new(format!("latency, {name}, by rate offered"), LATENCY);
    let measured = |point: &Point| point.figures().map(|figures| figures.latency.clone());
    for point in results.on(Axis::Peers) {
        for latency in measured(point).into_iter().flatten() {
            let group = latency
                .rate
                .map_or("half the clean rate".into(), |rate| format!("{:.0} kpps", rate / 1_000.0));
            let value = [latency.p50_us, latency.p99_us][figure];
            chart.add(group, point.peer, value, (value, value));
        }
    }
    chart
}

impl Chart {
    fn new(title: String, (unit, scale): (&'static str, Scale)) -> Self {
        Self { title, unit, scale, groups: Vec::new(), series: Vec::new(), bars: Vec::new() }
    }

    fn add(&mut self, group: String, peer: Peer, value: f64, ends: (f64, f64)) {
        let group = place(&mut self.groups, group);
        let series = place(&mut self.series, peer);
        self.bars.push(Bar { group, series, value, ends });
    }

    fn draw(&self, path: &Path) -> Result<()> {
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        self.draw_on(&root).map_err(|error| anyhow!("{}: {error}", path.display()))
    }

    fn draw_on<B: DrawingBackend>(
        &self,
        root: &DrawingArea<B, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        root.fill(&WHITE)?;
        let (bottom, top) = self.range();
        let mut chart = ChartBuilder::on(root)
            .caption(&self.title, ("sans-serif", 20))
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(80)
            .build_cartesian_2d(0.0..self.groups.len() as f64, bottom..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(0)
            // One label below each group, in its middle.
            .x_labels(2 * self.groups.len() + 1)
            .x_label_formatter(&|x| self.label(*x))
            .y_labels(8)
            .y_label_formatter(&|y| self.tick(*y))
            .y_desc(self.unit)
            .draw()?;
        let figures = ("sans-serif", 12).into_text_style(root);
        let figures = figures.pos(Pos::new(HPos::Center, VPos::Bottom));
        for (series, peer) in self.series.iter().enumerate() {
            let colour = colour(*peer);
            let own = || self.bars.iter().filter(move |bar| bar.series == series);
            chart
                .draw_series(own().map(|bar| {
                    let (left, right) = self.sides(bar);
                    Rectangle::new([(left, bottom), (right, self.y(bar.value))], colour.filled())
                }))?
                .label(peer.name())
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled())
                });
            chart.draw_series(own().flat_map(|bar| self.whisker(bar)))?;
            chart.draw_series(own().map(|bar| {
                let (left, right) = self.sides(bar);
                let above = self.y(bar.ends.1) + (top - bottom) * 0.01;
                let place = (f64::midpoint(left, right), above);
                Text::new(figure(bar.value), place, figures.clone())
            }))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
        root.present()
    }

    /// Where the values begin and end.
    fn range(&self) -> (f64, f64) {
        let highest = self.bars.iter().map(|bar| bar.ends.1).fold(0.0, f64::max);
        match self.scale {
            Scale::Linear => (0.0, (highest * (1.0 + HEADROOM)).max(1.0)),
            Scale::Logarithmic => {
                let lowest = self.bars.iter().map(|bar| self.y(bar.ends.0));
                let bottom = lowest.fold(f64::INFINITY, f64::min).floor();
                let height = (self.y(highest) - bottom).max(1.0);
                (bottom, bottom + height * (1.0 + HEADROOM))
            }
        }
    }

    /// A value's height.
    fn y(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            // Nothing measured is shorter than a tenth of a microsecond.
            Scale::Logarithmic => value.max(0.1).log10(),
        }
    }

    fn tick(&self, y: f64) -> String {
        match self.scale {
            Scale::Linear => format!("{y:.0}"),
            Scale::Logarithmic if (y - y.round()).abs() < 0.01 => figure(10_f64.powf(y.round())),
            Scale::Logarithmic => String::new(),
        }
    }

    /// From the least round to the greatest, with caps; nothing where there was one round.
    fn whisker(&self, bar: &Bar) -> Vec<PathElement<(f64, f64)>> {
        let (low, high) = (self.y(bar.ends.0), self.y(bar.ends.1));
        if bar.ends.0 >= bar.ends.1 {
            return Vec::new();
        }
        let (left, right) = self.sides(bar);
        let middle = f64::midpoint(left, right);
        let cap = |y| PathElement::new([(middle - HALF_CAP, y), (middle + HALF_CAP, y)], BLACK);
        vec![PathElement::new([(middle, low), (middle, high)], BLACK), cap(low), cap(high)]
    }

    /// A bar's sides: groups are 1 wide, at most four fifths of it bars, in its middle.
    fn sides(&self, bar: &Bar) -> (f64, f64) {
        let count = self.series.len() as f64;
        let width = (0.8 / count).min(WIDEST_BAR);
        let left = bar.group as f64 + (1.0 - width * count) / 2.0 + bar.series as f64 * width;
        (left, left + width)
    }

    fn label(&self, x: f64) -> String {
        let in_the_middle = (x.fract() - 0.5).abs() < 0.01;
        let group = in_the_middle.then(|| self.groups.get(x as usize).cloned());
        group.flatten().unwrap_or_default()
    }
}

/// A value with as many digits as say something.
fn figure(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// The place of an item in a list of different ones, at its end if it is new.
fn place<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|other| *other == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_a_bar_and_a_label_for_each_figure() {
        let mut chart = Chart::new("a title".into(), RATE);
        chart.add("first".into(), Peer::McrUring, 400.0, (390.0, 410.0));
        chart.add("first".into(), Peer::Kernel, 340.0, (330.0, 345.0));
        chart.add("second".into(), Peer::McrUring, 900.0, (880.0, 920.0));
        let mut svg = String::new();
        chart.draw_on(&SVGBackend::with_string(&mut svg, SIZE).into_drawing_area()).unwrap();
        for text in ["a title", "first", "second", "MCR, io_uring", "kernel forwarding"] {
            assert!(svg.contains(text), "no {text:?} in {svg}");
        }
        let bars = svg.matches("#0072B2").count() + svg.matches("#E69F00").count();
        // Three bars and two of the legend.
        assert_eq!(bars, 3 + 2);
    }

    #[test]
    fn a_logarithmic_chart_has_a_tick_for_each_power() {
        let mut chart = Chart::new(String::new(), LATENCY);
        chart.add("a".into(), Peer::McrUring, 20.0, (20.0, 20.0));
        chart.add("a".into(), Peer::Kernel, 5_000.0, (5_000.0, 5_000.0));
        let (bottom, top) = chart.range();
        assert!((bottom - 1.0).abs() < 1e-9 && top > 3.7, "{bottom} to {top}");
        assert_eq!([1.0, 2.0, 2.5].map(|y| chart.tick(y)), ["10", "100", ""]);
    }

    #[test]
    fn bars_of_a_group_stand_side_by_side() {
        let mut chart = Chart::new(String::new(), RATE);
        chart.add("a".into(), Peer::McrUring, 1.0, (1.0, 1.0));
        chart.add("a".into(), Peer::Kernel, 1.0, (1.0, 1.0));
        let sides: Vec<_> = chart.bars.iter().map(|bar| chart.sides(bar)).collect();
        assert!((sides[0].1 - sides[1].0).abs() < 1e-9 && sides[1].1 <= 1.0);
    }
}
