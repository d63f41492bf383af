//! Plots a run as four panels over time, in a self-contained SVG file.

use std::fmt::Write;

use crate::scenario::{Report, Sample};

const WIDTH: f64 = 1080.0;
const HEIGHT: f64 = 760.0;
const PANEL: (f64, f64) = (440.0, 230.0);
const INK: &str = "#1b2430";
const FAINT: &str = "#7a8594";
/// The time in which faults can be active.
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
            level: Some(("ceiling", report.table.ceiling)),
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
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = draw(&mut out, report, &panels);
    out
}

fn draw(out: &mut String, report: &Report, panels: &[Panel<'_>; 4]) -> std::fmt::Result {
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"Inter, Helvetica, \
         Arial, sans-serif\" font-size=\"12\" fill=\"{INK}\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         fill=\"#ffffff\"/>"
    )?;
    let verdict = if report.passed() { "passed" } else { "failed" };
    writeln!(
        out,
        "<text x=\"60\" y=\"44\" font-size=\"22\" font-weight=\"600\">{}</text>\n<text x=\"60\" y=\"68\" \
         fill=\"{FAINT}\">{} nodes, {:.0} s of virtual time, seed {}, crypto {}, {} faults, {verdict}; trace {}</text>",
        escape(&report.scenario),
        report.nodes,
        report.virtual_s,
        report.seed,
        report.crypto,
        report.faults.len(),
        report.trace_hash
    )?;
    if !report.faults.is_empty() {
        writeln!(
            out,
            "<rect x=\"{:.0}\" y=\"33\" width=\"14\" height=\"14\" fill=\"{SHADE}\" stroke=\"#e5cfae\"/><text x=\"{:.0}\" \
             y=\"44\" text-anchor=\"end\" fill=\"{FAINT}\">faults, until {} s</text>",
            WIDTH - 74.0,
            WIDTH - 82.0,
            number(report.healed_s)
        )?;
    }
    for (i, panel) in panels.iter().enumerate() {
        let x = 60.0 + (i % 2) as f64 * 520.0;
        let y = 130.0 + (i / 2) as f64 * 320.0;
        draw_panel(out, panel, report, x, y)?;
    }
    writeln!(out, "</svg>")
}

fn draw_panel(out: &mut String, panel: &Panel<'_>, report: &Report, left: f64, top: f64) -> std::fmt::Result {
    let (width, height) = PANEL;
    let end = report.virtual_s.max(1e-9);
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
    if !report.faults.is_empty() {
        let (healed, _) = at(report.healed_s.min(end), 0.0);
        let shaded = healed - left;
        writeln!(out, "<rect x=\"{left}\" y=\"{top}\" width=\"{shaded:.1}\" height=\"{height}\" fill=\"{SHADE}\"/>")?;
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
    fn grid_lines_are_round() {
        assert_eq!([0.3, 1.1, 23.0, 170.0].map(step), [0.5, 2.0, 25.0, 200.0]);
        assert_eq!([0.0, 0.5, 20.0, 1.25].map(number), ["0", "0.5", "20", "1.25"]);
    }
}
