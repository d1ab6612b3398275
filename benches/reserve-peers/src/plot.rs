//! The report as a picture: rate against what is in flight, and against the size of a batch.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;

use crate::peer::Peer;
use crate::report::{Report, Row};
use crate::work::Workload;

/// Size of the picture.
const SIZE: (u32, u32) = (1_500, 560);

/// Writes the picture to `path`.
pub fn write(report: &Report, path: &Path) -> anyhow::Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    // Errors of the library borrow what they complain about.
    let failed = |error: &dyn std::fmt::Display| anyhow!("drawing {}: {error}", path.display());
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let panels = root.split_evenly((1, 3));
    let singles = |workload| move |row: &Row| row.workload == workload && row.batch == 1;
    let batches = |row: &Row| row.workload == Workload::Hot && row.in_flight == 4 && row.batch > 1;
    let by_window = |row: &Row| row.in_flight as f64;
    let by_batch = |row: &Row| row.batch as f64;
    let drawn = [
        panel(
            report,
            &panels[0],
            "one hot article",
            "in flight",
            &singles(Workload::Hot),
            &by_window,
        ),
        panel(
            report,
            &panels[1],
            "10,000 articles, Zipf 1.0",
            "in flight",
            &singles(Workload::Zipf),
            &by_window,
        ),
        panel(
            report,
            &panels[2],
            "one hot article, batches",
            "reservations a batch",
            &batches,
            &by_batch,
        ),
    ];
    for result in drawn {
        result.map_err(|error| failed(&error))?;
    }
    root.present().map_err(|error| failed(&error))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn panel(
    report: &Report,
    area: &Area<'_>,
    title: &str,
    axis: &str,
    is_drawn: &dyn Fn(&Row) -> bool,
    position: &dyn Fn(&Row) -> f64,
) -> Result<(), Box<dyn std::error::Error>> {
    let rows: Vec<&Row> = report
        .rows
        .iter()
        .filter(|row| row.at_rate.is_none() && is_drawn(row))
        .collect();
    let rates = || rows.iter().map(|row| row.per_second.median);
    let (lowest, highest) = (rates().fold(f64::MAX, f64::min), rates().fold(0.0, f64::max));
    let farthest = rows.iter().map(|row| position(row)).fold(0.0, f64::max);
    let nearest = rows.iter().map(|row| position(row)).fold(f64::MAX, f64::min);
    if farthest <= nearest {
        return Ok(());
    }
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(76)
        .build_cartesian_2d(
            (nearest..farthest).log_scale(),
            (lowest / 1.5..highest * 1.5).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc(format!("{axis} (log)"))
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
            .map(|row| (position(row), row.per_second.median))
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
