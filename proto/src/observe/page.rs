//! A role's page of numbers, as it is written when somebody asks: each with its name, its help and its values.
//!
//! It says nothing of how a page is laid out or served.

use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use std::fmt;

/// Names and values that tell the samples of one name apart.
pub type Labels<'a, const N: usize> = [(&'a str, &'a str); N];

/// A page that is being written.
#[derive(Debug)]
pub struct Page<'a>(DescriptorEncoder<'a>);

impl<'a> From<DescriptorEncoder<'a>> for Page<'a> {
    fn from(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }
}

impl Page<'_> {
    /// A number that goes up and down.
    ///
    /// # Errors
    /// When the page cannot be written, as with all that follow.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.maybe_gauge(name, help, Some(value))
    }

    /// The same where there may be none: then the page has its name and help alone.
    pub fn maybe_gauge(&mut self, name: &str, help: &str, value: Option<f64>) -> fmt::Result {
        self.gauges(name, help, value.map(|value| ([], value)))
    }

    /// A number that only grows, whole or not; `name` without `_total`, which the page adds.
    pub fn counter(&mut self, name: &str, help: &str, value: impl EncodeCounterValue) -> fmt::Result {
        self.counters(name, help, [([], value)])
    }

    /// How values are spread.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        let encoder = self.described(name, help, MetricType::Histogram)?;
        histogram.encode(encoder)
    }

    /// Numbers that go up and down, told apart by labels. Without any the page has the name and help alone, as with all families.
    pub fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l, N>, f64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, values, ConstGauge::new)
    }

    /// Numbers that only grow, likewise.
    pub fn counters<'l, const N: usize, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, values, ConstCounter::new)
    }

    /// How values are spread, likewise.
    pub fn histograms<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l, N>, Histogram)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, values, |histogram| histogram)
    }

    fn family<'l, const N: usize, V, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        values: impl IntoIterator<Item = (Labels<'l, N>, V)>,
        metric: impl Fn(V) -> M,
    ) -> fmt::Result {
        let mut encoder = self.described(name, help, kind)?;
        for (labels, value) in values {
            metric(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn described<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }
}
