//! Progress of long work: on standard error, and only where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// A line that is drawn over until the work ends.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Work of `steps` steps.
    pub fn of(steps: u64) -> Self {
        Self::styled(ProgressBar::new(steps), "{spinner} {wide_bar} {pos}/{len}  {msg}")
    }

    fn styled(bar: ProgressBar, template: &str) -> Self {
        // A template that can't be read would only cost the look.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// How far the work is, and what is being done.
    pub fn at(&self, step: u64, doing: String) {
        self.0.set_position(step);
        self.0.set_message(doing);
    }
}

impl Progress {
    /// Does something that writes, without the line in its way.
    pub fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
