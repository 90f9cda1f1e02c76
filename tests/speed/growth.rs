//! Draws how times grow with sizes.

use std::path::Path;

use plotters::prelude::*;

/// A plot of one size and the time at each of its values.
pub struct Panel {
    /// Name of the size.
    pub what: &'static str,
    /// Pairs of size and milliseconds.
    pub points: Vec<(f64, f64)>,
}

/// Draws panels side by side into an SVG file, with both axes in powers of two. A dashed line through the last point
/// shows proportional growth.
pub fn draw(path: &Path, title: &str, panels: &[Panel]) {
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).expect("a folder for the figure");
    let root = SVGBackend::new(path, (1200, 360)).into_drawing_area();
    root.fill(&WHITE).expect("a figure");
    let root = root.titled(title, ("sans-serif", 20)).expect("a title");
    for (area, panel) in root.split_evenly((1, panels.len())).iter().zip(panels) {
        let ends = |values: Vec<f64>| {
            let (low, high) = values.iter().fold((f64::MAX, 0.0f64), |(low, high), &v| (low.min(v), high.max(v)));
            low / 1.3..high * 1.3
        };
        let (sizes, times) = panel.points.iter().copied().unzip::<f64, f64, Vec<_>, Vec<_>>();
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .caption(panel.what, ("sans-serif", 13))
            .x_label_area_size(32)
            .y_label_area_size(56)
            .build_cartesian_2d(ends(sizes).log_scale().base(2.0), ends(times).log_scale().base(2.0))
            .expect("axes");
        let label = |value: &f64| if *value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") };
        chart
            .configure_mesh()
            .disable_mesh()
            .y_desc("ms")
            .x_labels(7)
            .y_labels(6)
            .x_label_formatter(&label)
            .y_label_formatter(&label)
            .draw()
            .expect("axes");
        let Some(&(last, ms)) = panel.points.last() else {
            continue;
        };
        let proportional = panel.points.iter().map(|&(size, _)| (size, ms * size / last));
        chart.draw_series(DashedLineSeries::new(proportional, 4, 4, BLACK.mix(0.4).into())).expect("a line");
        let line = LineSeries::new(panel.points.iter().copied(), BLUE.stroke_width(2)).point_size(3);
        chart.draw_series(line).expect("a line");
    }
    root.present().expect("the figure is written");
}
