//! Measuring the driver: rates, latencies, throughput, and the same over the host's own sockets to compare with.
//!
//! One idea: a number alone says little on a machine that does other things too. Every measure is taken several times and told with
//! its extremes; where there is a yardstick (the host's sockets, in the same process, with the same peer) the ratio is told as well.

mod lifecycle;
mod traffic;

use crate::{Client, Error, backend::Backend, interrupt::Interrupt};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Whether a measure is better when it is higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// One thing that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Measure {
    pub name: &'static str,
    pub what: &'static str,
    pub unit: &'static str,
    pub better: Better,
    pub repeats: usize,
    pub min: f64,
    pub median: f64,
    pub max: f64,
    /// The extremes' distance, in percent of the median: differences below it mean nothing.
    pub spread_percent: f64,
    /// The host's own sockets, median.
    pub host: Option<f64>,
}

impl Measure {
    /// The median through the host's.
    pub fn ratio(&self) -> Option<f64> {
        self.host.filter(|&host| host > 0.0).map(|host| self.median / host)
    }
}

/// Takes one sample.
type Sample = fn(&Bench<'_>) -> Result<f64, Error>;

/// How one thing is measured.
struct Yardstick {
    name: &'static str,
    what: &'static str,
    unit: &'static str,
    better: Better,
    take: Sample,
    host: Option<Sample>,
}

/// What measuring works with.
struct Bench<'a> {
    client: &'a Client,
    /// How long one sample takes, about.
    sample: Duration,
}

const YARDSTICKS: [Yardstick; 9] = [
    Yardstick {
        name: "requests",
        what: "requests that the driver answers at once",
        unit: "1/s",
        better: Better::Higher,
        take: lifecycle::requests,
        host: None,
    },
    Yardstick {
        name: "counted",
        what: "startup and cleanup beside another reference",
        unit: "1/s",
        better: Better::Higher,
        take: lifecycle::counted,
        host: None,
    },
    Yardstick {
        name: "restart",
        what: "first startup, last cleanup, WSK registration",
        unit: "us",
        better: Better::Lower,
        take: lifecycle::restart,
        host: None,
    },
    Yardstick {
        name: "teardown",
        what: "last cleanup with 64 receives pending on 64 sockets",
        unit: "us",
        better: Better::Lower,
        take: lifecycle::teardown,
        host: None,
    },
    Yardstick {
        name: "sockets",
        what: "socket, bind, close",
        unit: "1/s",
        better: Better::Higher,
        take: lifecycle::sockets,
        host: Some(traffic::host_sockets),
    },
    Yardstick {
        name: "cancel",
        what: "from a receive's cancel to its completion",
        unit: "us",
        better: Better::Lower,
        take: lifecycle::cancel,
        host: None,
    },
    Yardstick {
        name: "round_trip",
        what: "64 bytes out and back",
        unit: "us",
        better: Better::Lower,
        take: traffic::round_trip,
        host: Some(traffic::host_round_trip),
    },
    Yardstick {
        name: "send",
        what: "sent in requests of 64 KiB",
        unit: "MiB/s",
        better: Better::Higher,
        take: traffic::send,
        host: Some(traffic::host_send),
    },
    Yardstick {
        name: "receive",
        what: "received in requests of 64 KiB",
        unit: "MiB/s",
        better: Better::Higher,
        take: traffic::receive,
        host: Some(traffic::host_receive),
    },
];

/// How many measures there are.
pub(crate) const MEASURES: u64 = YARDSTICKS.len() as u64;

/// Takes every measure `repeats` times, and gives each as soon as it is there.
pub(crate) fn run(
    backend: &Backend,
    client: &Client,
    sample: Duration,
    repeats: usize,
    interrupt: Interrupt,
    tell: &mut dyn FnMut(Measure) -> Result<(), Error>,
) -> Result<(), Error> {
    let bench = Bench { client, sample };
    for yardstick in &YARDSTICKS {
        if yardstick.name == "cancel" && !backend.cancels_reach_requests() {
            continue;
        }
        let (mut samples, mut host) = (Vec::new(), Vec::new());
        // One after the other, so that what disturbs one disturbs the other as well.
        for _ in 0..repeats {
            if interrupt.is_pressed() {
                return Err(Interrupt::error("bench"));
            }
            samples.push((yardstick.take)(&bench)?);
            if let Some(take) = yardstick.host {
                host.push(take(&bench)?);
            }
        }
        tell(yardstick.measure(samples, host))?;
    }
    Ok(())
}

impl Yardstick {
    fn measure(&self, mut samples: Vec<f64>, mut host: Vec<f64>) -> Measure {
        let median = median(&mut samples).unwrap_or_default();
        let (min, max) = (samples.first().copied().unwrap_or_default(), samples.last().copied().unwrap_or_default());
        let Self { name, what, unit, better, .. } = *self;
        let spread_percent = if median > 0.0 { (max - min) / median * 100.0 } else { 0.0 };
        let host = self::median(&mut host);
        Measure { name, what, unit, better, repeats: samples.len(), min, median, max, spread_percent, host }
    }
}

/// Sorts, and gives the middle.
fn median(samples: &mut [f64]) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied()
}

impl Bench<'_> {
    /// How many times a second `once` can be done.
    fn rate(&self, mut once: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
        let begun = Instant::now();
        let mut times = 0_u32;
        while begun.elapsed() < self.sample {
            once()?;
            times += 1;
        }
        Ok(f64::from(times) / begun.elapsed().as_secs_f64())
    }

    /// The median of how many microseconds `once` says that it took.
    fn latency(&self, mut once: impl FnMut() -> Result<Duration, Error>) -> Result<f64, Error> {
        let begun = Instant::now();
        let mut took = Vec::new();
        while begun.elapsed() < self.sample || took.is_empty() {
            took.push(once()?.as_secs_f64() * 1e6);
        }
        Ok(median(&mut took).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_tells_its_middle_its_extremes_and_their_distance() {
        let measure = YARDSTICKS[6].measure(vec![30.0, 10.0, 20.0], vec![5.0, 4.0, 6.0]);
        assert_eq!((measure.min, measure.median, measure.max), (10.0, 20.0, 30.0));
        assert_eq!((measure.spread_percent, measure.host, measure.ratio()), (100.0, Some(5.0), Some(4.0)));
        assert_eq!(YARDSTICKS[0].measure(vec![], vec![]).ratio(), None);
    }
}
