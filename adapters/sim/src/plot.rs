//! Plots a run as four panels over time, in a self-contained SVG file.

use std::fmt::Write;

use crate::eclipse;
use crate::scenario::{Report, Sample};

const WIDTH: f64 = 1080.0;
const HEIGHT: f64 = 760.0;
const PANEL: (f64, f64) = (440.0, 230.0);
const INK: &str = "#1b2430";
const FAINT: &str = "#7a8594";
/// The time in which faults can be active, or the attack is.
const SHADE: &str = "#fbf3e9";
const GRID: &str = "#e4e8ee";
const COLOURS: [&str; 3] = ["#2463eb", "#e8590c", "#0f9d76"];

/// One line of a panel.
struct Line<'a> {
    name: &'a str,
    points: Vec<(f64, f64)>,
}

struct Panel<'a> {
    title: &'a str,
    unit: &'a str,
    lines: Vec<Line<'a>>,
    /// A reference level for the lines.
    level: Option<(&'a str, f64)>,
}

/// Four panels over the time of a run.
struct Chart<'a> {
    title: &'a str,
    subtitle: String,
    /// The length of the run in seconds.
    end_s: f64,
    /// The part of it that is shaded, with its legend.
    shade: Option<(f64, f64, String)>,
    panels: [Panel<'a>; 4],
}

/// Plots table fill, lookups, sessions and traffic of a run.
pub fn svg(report: &Report) -> String {
    let series = |of: fn(&Sample) -> f64| report.series.iter().map(|sample| (sample.t_s, of(sample))).collect();
    let lookups = |of: fn(&Sample) -> f64| {
        let samples = report.series.iter().filter(|sample| sample.lookups > 0);
        samples.map(|sample| (sample.t_s, of(sample))).collect()
    };
    let mut sessions = vec![Line { name: "established", points: series(|sample| sample.sessions) }];
    if report.series.iter().any(|sample| sample.sessions - sample.sessions_honest > 1e-9) {
        sessions.push(Line { name: "with honest nodes", points: series(|sample| sample.sessions_honest) });
    }
    let panels = [
        Panel {
            title: "Table",
            unit: "entries a node",
            lines: vec![Line { name: "mean", points: series(|sample| sample.table) }],
            level: Some(("ceiling", report.table().ceiling)),
        },
        Panel {
            title: "Lookups",
            unit: "a lookup",
            lines: vec![
                Line { name: "queries", points: lookups(|sample| sample.queries) },
                Line { name: "hops", points: lookups(|sample| sample.hops) },
                Line { name: "nearest 16 found", points: lookups(|sample| sample.found_percent * 16.0 / 100.0) },
            ],
            level: None,
        },
        Panel { title: "Sessions", unit: "a node", lines: sessions, level: None },
        Panel {
            title: "Traffic",
            unit: "a node and second",
            lines: vec![
                Line { name: "datagrams", points: series(|sample| sample.datagrams_per_node_s) },
                Line { name: "KiB in all", points: series(|sample| sample.bytes_per_node_s / 1024.0) },
            ],
            level: None,
        },
    ];
    let verdict = if report.passed() { "passed" } else { "failed" };
    let has_faults = !report.faults.is_empty();
    Chart {
        title: &report.scenario,
        subtitle: format!(
            "{} nodes, {:.0} s of virtual time, seed {}, crypto {}, {} faults, {verdict}; trace {}",
            report.nodes,
            report.virtual_s,
            report.seed,
            report.crypto,
            report.faults.len(),
            report.trace_hash
        ),
        end_s: report.virtual_s,
        shade: has_faults.then(|| (0.0, report.healed_s, format!("faults, until {} s", number(report.healed_s)))),
        panels,
    }
    .svg()
}

/// Plots who holds the places, the table and the book of the real node of a run.
pub fn eclipse_svg(report: &eclipse::Report) -> String {
    let series = |of: fn(&eclipse::Shares) -> f64| {
        report.series.iter().map(|sample| (sample.t_s, of(&sample.shares))).collect::<Vec<_>>()
    };
    let panel = |title, unit, all: fn(&eclipse::Shares) -> f64, hostile: fn(&eclipse::Shares) -> f64| Panel {
        title,
        unit,
        lines: vec![Line { name: "all", points: series(all) }, Line { name: "hostile", points: series(hostile) }],
        level: None,
    };
    let attack_s = report.peace_s + report.time_s;
    let eclipse::Report { subnets, honest, room_percent, room_drawn, seed, trace_hash, .. } = report;
    Chart {
        title: "eclipse",
        subtitle: format!(
            "one real node, {honest} honest scripted ones, {subnets} hostile /24s, room {room_percent} % per {room_drawn}, \
             seed {seed}; trace {trace_hash}"
        ),
        end_s: attack_s,
        shade: Some((report.peace_s, attack_s, format!("attack, from {} h on", number(report.peace_s / 3600.0)))),
        panels: [
            panel("Outbound", "peers", |shares| shares.outbound.into(), |shares| shares.hostile_outbound.into()),
            panel("Inbound", "peers", |shares| shares.inbound.into(), |shares| shares.hostile_inbound.into()),
            panel(
                "Table",
                "entries",
                |shares| shares.table.into(),
                |shares| f64::from(shares.table) * shares.table_share,
            ),
            panel("Book", "nodes", |shares| shares.book.into(), |shares| f64::from(shares.book) * shares.book_share),
        ],
    }
    .svg()
}

impl Chart<'_> {
    fn svg(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = draw(&mut out, self);
        out
    }
}

fn draw(out: &mut String, chart: &Chart<'_>) -> std::fmt::Result {
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"Inter, Helvetica, \
         Arial, sans-serif\" font-size=\"12\" fill=\"{INK}\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         fill=\"#ffffff\"/>"
    )?;
    writeln!(
        out,
        "<text x=\"60\" y=\"44\" font-size=\"22\" font-weight=\"600\">{}</text>\n<text x=\"60\" y=\"68\" \
         fill=\"{FAINT}\">{}</text>",
        escape(chart.title),
        escape(&chart.subtitle)
    )?;
    if let Some((_, _, legend)) = &chart.shade {
        writeln!(
            out,
            "<rect x=\"{:.0}\" y=\"33\" width=\"14\" height=\"14\" fill=\"{SHADE}\" stroke=\"#e5cfae\"/><text x=\"{:.0}\" \
             y=\"44\" text-anchor=\"end\" fill=\"{FAINT}\">{}</text>",
            WIDTH - 74.0,
            WIDTH - 82.0,
            escape(legend)
        )?;
    }
    for (i, panel) in chart.panels.iter().enumerate() {
        let x = 60.0 + (i % 2) as f64 * 520.0;
        let y = 130.0 + (i / 2) as f64 * 320.0;
        draw_panel(out, panel, chart, x, y)?;
    }
    writeln!(out, "</svg>")
}

fn draw_panel(out: &mut String, panel: &Panel<'_>, chart: &Chart<'_>, left: f64, top: f64) -> std::fmt::Result {
    let (width, height) = PANEL;
    let end = chart.end_s.max(1e-9);
    let highest = panel.lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y).fold(0.0, f64::max);
    let highest = panel.level.map_or(highest, |(_, level)| highest.max(level));
    let highest = if highest > 0.0 { highest } else { 1.0 };
    let spacing = step(highest / 4.0);
    let top_value = (highest / spacing).ceil().max(1.0) * spacing;
    let at = |t: f64, y: f64| (left + width * t / end, top + height * (1.0 - y / top_value));

    writeln!(
        out,
        "<text x=\"{left}\" y=\"{:.0}\" font-size=\"15\" font-weight=\"600\">{}<tspan dx=\"8\" font-size=\"12\" \
         font-weight=\"400\" fill=\"{FAINT}\">{}</tspan></text>",
        top - 16.0,
        panel.title,
        panel.unit
    )?;
    if let Some((from, to, _)) = &chart.shade {
        let [(x, _), (right, _)] = [from, to].map(|t| at(t.min(end), 0.0));
        let shaded = right - x;
        writeln!(out, "<rect x=\"{x}\" y=\"{top}\" width=\"{shaded:.1}\" height=\"{height}\" fill=\"{SHADE}\"/>")?;
    }
    let mut value = 0.0;
    while value <= top_value * 1.0001 {
        let (_, y) = at(0.0, value);
        writeln!(
            out,
            "<line x1=\"{left}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{GRID}\"/><text x=\"{:.1}\" \
             y=\"{:.1}\" text-anchor=\"end\" fill=\"{FAINT}\" font-size=\"11\">{}</text>",
            left + width,
            left - 8.0,
            y + 4.0,
            number(value)
        )?;
        value += spacing;
    }
    let (unit, seconds) = if end >= 7200.0 { ("h", 3600.0) } else { ("min", 60.0) };
    let ticks = step(end / seconds / 6.0);
    let mut tick = 0.0;
    while tick * seconds <= end * 1.0001 {
        let (x, y) = at(tick * seconds, 0.0);
        writeln!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y:.1}\" y2=\"{:.1}\" stroke=\"{FAINT}\"/><text x=\"{x:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\" fill=\"{FAINT}\" font-size=\"11\">{} {unit}</text>",
            y + 4.0,
            y + 18.0,
            number(tick)
        )?;
        tick += ticks;
    }
    if let Some((name, level)) = panel.level {
        let (x, y) = at(end, level);
        writeln!(
            out,
            "<line x1=\"{left}\" x2=\"{x:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{FAINT}\" stroke-dasharray=\"5 \
             4\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{FAINT}\" font-size=\"11\">{name} \
             {level:.0}</text>",
            y - 5.0
        )?;
    }
    if panel.lines.iter().flat_map(|line| &line.points).all(|(_, y)| *y == 0.0) {
        writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{FAINT}\">none in this run</text>",
            left + width / 2.0,
            top + height / 2.0
        )?;
        return Ok(());
    }
    let mut legend = left + width;
    for (line, colour) in panel.lines.iter().zip(COLOURS).rev() {
        write!(
            out,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-linejoin=\"round\" points=\""
        )?;
        for (t, y) in &line.points {
            let (x, y) = at(*t, *y);
            write!(out, "{x:.1},{y:.1} ")?;
        }
        writeln!(out, "\"/>")?;
        writeln!(
            out,
            "<text x=\"{legend:.0}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"{colour}\" font-weight=\"600\">{}</text>",
            top - 16.0,
            line.name
        )?;
        legend -= 14.0 + 7.5 * line.name.chars().count() as f64;
    }
    Ok(())
}

/// Returns a round distance between grid lines, not much below `raw`.
fn step(raw: f64) -> f64 {
    let mut magnitude = 0.001;
    while magnitude < 1e12 {
        for factor in [1.0, 2.0, 2.5, 5.0] {
            if magnitude * factor >= raw {
                return magnitude * factor;
            }
        }
        magnitude *= 10.0;
    }
    raw
}

fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_four_panels_and_balanced_tags() {
        let series = (0..10).map(|i| Sample { t_s: f64::from(i) * 60.0, table: 9.0, ..Sample::default() }).collect();
        let report = Report { scenario: "a < b".into(), virtual_s: 600.0, series, ..Report::default() };
        let text = svg(&report);
        for title in ["Table", "Lookups", "Sessions", "Traffic", "a &lt; b"] {
            assert!(text.contains(title), "{title}");
        }
        assert!(text.starts_with("<svg") && text.ends_with("</svg>\n"));
        assert_eq!(text.matches("<text").count(), text.matches("</text>").count());
        assert!(!text.contains("NaN") && !text.contains("inf"));
    }

    #[test]
    fn a_plot_of_an_attack_shades_it() {
        let shares = eclipse::Shares { outbound: 16, hostile_outbound: 4, ..eclipse::Shares::default() };
        let series = (0..10).map(|i| eclipse::Sample { t_s: f64::from(i) * 3600.0, shares }).collect();
        let report = eclipse::Report { peace_s: 3600.0, time_s: 8.0 * 3600.0, series, ..eclipse::Report::default() };
        let text = eclipse_svg(&report);
        for text_of in ["Outbound", "Inbound", "Table", "Book", "attack, from 1 h on", "none in this run"] {
            assert!(text.contains(text_of), "{text_of}");
        }
        assert_eq!(text.matches(&format!("fill=\"{SHADE}\"/>")).count(), 4);
        assert!(text.starts_with("<svg") && text.ends_with("</svg>\n") && !text.contains("NaN"));
    }

    #[test]
    fn grid_lines_are_round() {
        assert_eq!([0.3, 1.1, 23.0, 170.0].map(step), [0.5, 2.0, 25.0, 200.0]);
        assert_eq!([0.0, 0.5, 20.0, 1.25].map(number), ["0", "0.5", "20", "1.25"]);
    }
}
