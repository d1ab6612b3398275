//! The report as a picture: rate against what is in flight, and against the size of a batch.

use std::ops::Range;
use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;

use crate::peer::Peer;
use crate::report::{Report, Row};
use crate::work::Workload;

/// Size of the picture.
const SIZE: (u32, u32) = (1_500, 560);

/// One of the charts, side by side.
struct Panel {
    title: &'static str,
    axis: &'static str,
    is_drawn: fn(&Row) -> bool,
    position: fn(&Row) -> f64,
    range: Range<f64>,
}

const PANELS: [Panel; 3] = [
    Panel {
        title: "one hot article",
        axis: "in flight",
        is_drawn: |row| row.workload == Workload::Hot && row.batch == 1,
        position: |row| row.in_flight as f64,
        range: 1.0..1_100.0,
    },
    Panel {
        title: "10,000 articles, Zipf 1.0",
        axis: "in flight",
        is_drawn: |row| row.workload == Workload::Zipf && row.batch == 1,
        position: |row| row.in_flight as f64,
        range: 1.0..1_100.0,
    },
    Panel {
        title: "one hot article, batches",
        axis: "reservations a batch",
        is_drawn: |row| row.workload == Workload::Hot && row.batch > 1,
        position: |row| row.batch as f64,
        range: 100.0..10_000.0,
    },
];

/// Writes the picture to `path`.
pub fn write(report: &Report, path: &Path) -> anyhow::Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    // Errors of the library borrow what they complain about.
    let failed = |error: &dyn std::fmt::Display| anyhow!("drawing {}: {error}", path.display());
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    for (panel, area) in PANELS.iter().zip(root.split_evenly((1, PANELS.len()))) {
        draw(report, &area, panel).map_err(|error| failed(&error))?;
    }
    root.present().map_err(|error| failed(&error))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw(report: &Report, area: &Area<'_>, panel: &Panel) -> Result<(), Box<dyn std::error::Error>> {
    let rows: Vec<&Row> = report
        .rows
        .iter()
        .filter(|row| row.at_rate.is_none() && (panel.is_drawn)(row))
        .collect();
    let rates = || rows.iter().map(|row| row.per_second.median);
    let (lowest, highest) = (rates().fold(f64::MAX, f64::min), rates().fold(0.0, f64::max));
    if rows.is_empty() {
        return Ok(());
    }
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(76)
        .build_cartesian_2d(
            panel.range.clone().log_scale(),
            (lowest / 1.5..highest * 1.5).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc(format!("{} (log)", panel.axis))
        .y_desc("reservations a second (log)")
        .y_label_formatter(&|rate| format!("{rate:.0}"))
        .x_label_formatter(&|position| format!("{position:.0}"))
        .draw()?;
    for (number, peer) in peers(&rows).into_iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        // What is not durable is drawn thin.
        let style = color.stroke_width(if peer.is_durable() { 3 } else { 1 });
        let mut points: Vec<(f64, f64)> = rows
            .iter()
            .filter(|row| row.peer == peer)
            .map(|row| ((panel.position)(row), row.per_second.median))
            .collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        chart
            .draw_series(LineSeries::new(points, style).point_size(3))?
            .label(peer.to_string())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

/// Who is drawn, in the order of the report.
fn peers(rows: &[&Row]) -> Vec<Peer> {
    let mut peers = Vec::new();
    for row in rows {
        if !peers.contains(&row.peer) {
            peers.push(row.peer);
        }
    }
    peers
}
