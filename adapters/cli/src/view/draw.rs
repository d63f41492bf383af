//! The layout of a page: what fits, by importance, from one cell to the largest terminal.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Sparkline};

use super::{Cell, Column, Page, Tone};

/// Between columns, and between figures.
const GAP: u16 = 2;
/// A last column narrower than this tells nothing.
const LAST_WIDTH_MIN: u16 = 12;
/// Lines of events for which the table gives up rows.
const EVENTS_MIN: u16 = 5;
const FIGURE_LINES_MAX: usize = 2;
const TRAFFIC_WIDTH: u16 = 20;
/// On fewer columns or lines than these, traffic is not drawn.
const TRAFFIC_ROOM: (u16, u16) = (60, 16);

/// Draws a page over the whole frame.
pub(super) fn page(frame: &mut Frame<'_>, page: &Page, has_colour: bool) {
    let area = frame.area();
    let paint = Paint { has_colour };
    let has_room = area.width >= TRAFFIC_ROOM.0 && area.height >= TRAFFIC_ROOM.1;
    let traffic_width = if has_room && !page.traffic.is_empty() { TRAFFIC_WIDTH } else { 0 };
    let figures = flow(&page.figures, area.width - traffic_width, paint);
    let gauge_lines = u16::from(page.progress.is_some() && area.height > 4);
    let above = 1 + gauge_lines + figures.len() as u16;
    let below = area.height.saturating_sub(above);
    let rows = page.rows.len().try_into().unwrap_or(u16::MAX);
    // A header, and the title of the events.
    let table_lines = (1 + rows).min(below.saturating_sub(1 + EVENTS_MIN)).max((1 + rows).min(below * 2 / 3));
    let [title, gauge, figure_area, table_area, event_area] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(gauge_lines),
        Constraint::Length(figures.len() as u16),
        Constraint::Length(table_lines),
        Constraint::Min(0),
    ])
    .areas(area);

    draw_title(frame, title, page, paint);
    if let Some(progress) = page.progress {
        draw_gauge(frame, gauge, progress, paint);
    }
    frame.render_widget(Paragraph::new(figures), figure_area);
    if traffic_width > 0 && !figure_area.is_empty() {
        let right = Rect { x: area.right() - traffic_width, width: traffic_width, ..figure_area };
        let shown = page.traffic.len().saturating_sub(traffic_width.into());
        frame.render_widget(Sparkline::default().data(&page.traffic[shown..]).style(paint.tone(Tone::Good)), right);
    }
    draw_table(frame, table_area, page, paint);
    draw_events(frame, event_area, page, paint);
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, page: &Page, paint: Paint) {
    let title = Span::styled(page.title.clone(), Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(Paragraph::new(title), area);
    let clock = Line::styled(page.clock.clone(), paint.dim());
    let width = u16::try_from(clock.width()).unwrap_or(u16::MAX);
    if width + GAP + (page.title.chars().count() as u16) <= area.width {
        frame.render_widget(Paragraph::new(clock.right_aligned()), area);
    }
}

/// A line that fills from the left.
fn draw_gauge(frame: &mut Frame<'_>, area: Rect, thousandths: u16, paint: Paint) {
    let filled = usize::from(area.width) * usize::from(thousandths.min(1000)) / 1000;
    let line = [
        Span::styled("━".repeat(filled), paint.tone(Tone::Good)),
        Span::styled("─".repeat(usize::from(area.width) - filled), paint.dim()),
    ];
    frame.render_widget(Paragraph::new(Line::from_iter(line)), area);
}

/// Figures one after the other, on as many lines as they need and may have.
fn flow<'a>(figures: &'a [Cell], width: u16, paint: Paint) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = Vec::new();
    for figure in figures {
        let span = Span::styled(&*figure.text, paint.tone(figure.tone));
        let room = usize::from(width).saturating_sub(usize::from(GAP) + span.width());
        let count = lines.len();
        match lines.last_mut() {
            Some(line) if line.width() <= room => {
                line.push_span("  ");
                line.push_span(span);
            }
            _ if count < FIGURE_LINES_MAX => lines.push(span.into()),
            _ => break,
        }
    }
    lines
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, page: &Page, paint: Paint) {
    let columns = fitting(&page.columns, area.width);
    let header = |column: &Column| Cell::new(column.title, Tone::Plain);
    let header_style = paint.dim().add_modifier(Modifier::UNDERLINED);
    let room = usize::from(area.height.saturating_sub(1));
    let hidden = page.rows.len().saturating_sub(room);
    // The line that counts the hidden rows takes the place of one.
    let shown = if hidden > 0 { room.saturating_sub(1) } else { page.rows.len() };
    for (line, y) in (area.top()..area.bottom()).enumerate() {
        let mut x = area.left();
        let row = line.checked_sub(1);
        if row == Some(shown) {
            let text = format!("… and {} more", page.rows.len() - shown);
            frame.buffer_mut().set_stringn(x, y, text, area.width.into(), paint.dim());
            break;
        }
        for (index, width) in &columns {
            let column = &page.columns[*index];
            let cell = match row {
                None => header(column),
                Some(row) => match page.rows.get(row).and_then(|row| row.get(*index)) {
                    Some(cell) => cell.clone(),
                    None => continue,
                },
            };
            let style = if row.is_none() { header_style } else { paint.tone(cell.tone) };
            let padding = width.saturating_sub(Span::raw(&*cell.text).width().try_into().unwrap_or(u16::MAX));
            let indent = if column.is_number { padding } else { 0 };
            frame.buffer_mut().set_stringn(x + indent, y, &cell.text, usize::from(width - indent), style);
            x = x.saturating_add(width + GAP);
        }
    }
}

/// The columns that fit, with their widths.
fn fitting(columns: &[Column], width: u16) -> Vec<(usize, u16)> {
    let mut kept: Vec<usize> = (0..columns.len()).collect();
    loop {
        let needed: u16 = kept.iter().map(|index| columns[*index].width + GAP).sum::<u16>().saturating_sub(GAP);
        let last = kept.last().copied();
        if needed <= width {
            let stretch = |index: usize| columns[index].width + if Some(index) == last { width - needed } else { 0 };
            return kept.into_iter().map(|index| (index, stretch(index))).collect();
        }
        let least =
            kept.iter().copied().filter(|index| columns[*index].rank > 0).max_by_key(|index| columns[*index].rank);
        match least {
            Some(least) => kept.retain(|index| *index != least),
            None => break,
        }
    }
    // What is left does not fit: as many as do, and the next one cut.
    let mut left = width;
    let mut cut = Vec::new();
    for index in kept {
        if left == 0 {
            break;
        }
        let width = columns[index].width.min(left);
        cut.push((index, width));
        left = left.saturating_sub(width + GAP);
    }
    cut
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, page: &Page, paint: Paint) {
    if area.is_empty() {
        return;
    }
    let block = Block::new().borders(Borders::TOP).border_style(paint.dim()).title(" events ");
    let lines = page.events.iter().map(|event| Line::styled(&*event.text, paint.tone(event.tone)));
    let lines: Vec<Line<'_>> = lines.take(usize::from(area.height - 1)).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// Styles, or only those without a colour.
#[derive(Clone, Copy)]
struct Paint {
    has_colour: bool,
}

impl Paint {
    fn tone(self, tone: Tone) -> Style {
        let colour = match tone {
            Tone::Plain => return Style::new(),
            Tone::Good => Color::Green,
            Tone::Warning => Color::Yellow,
            Tone::Bad => Color::Red,
        };
        if self.has_colour { Style::new().fg(colour) } else { Style::new() }
    }

    fn dim(self) -> Style {
        if self.has_colour { Style::new().fg(Color::DarkGray) } else { Style::new() }
    }
}

/// A last column, which is as wide as there is room, and never goes.
pub(crate) const fn last_column(title: &'static str) -> Column {
    Column { title, width: LAST_WIDTH_MIN, is_number: false, rank: 0 }
}
