//! A timeline as one HTML page that needs nothing else: pan, zoom, hover, filter.

use super::{Timeline, svg::escaped};

/// What draws: the page without its data.
const PAGE: &str = include_str!("page.html");

/// Draws it.
pub(crate) fn draw(timeline: &Timeline) -> String {
    // `</script>` within the data would end it.
    let data = serde_json::to_string(timeline).unwrap_or_default().replace("</", "<\\/");
    PAGE.replace("{{title}}", &escaped(&timeline.title)).replacen("{{data}}", &data, 1)
}
