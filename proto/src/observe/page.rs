//! A role's page of numbers, as it is written when somebody asks: each with its name, its help and its values.
//!
//! It says nothing of how a page is laid out or served.

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
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
        let encoder = self.described(name, help, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    /// The same where there may be none: then the page has its name and help alone.
    pub fn maybe_gauge(&mut self, name: &str, help: &str, value: Option<f64>) -> fmt::Result {
        let encoder = self.described(name, help, MetricType::Gauge)?;
        value.map_or(Ok(()), |value| ConstGauge::new(value).encode(encoder))
    }

    /// A number that only grows; `name` without `_total`, which the page adds.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let encoder = self.described(name, help, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    /// The same of what is not counted in whole numbers.
    pub fn sum(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let encoder = self.described(name, help, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
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
        let values = values.into_iter();
        let values = values.map(|(labels, value)| (labels, ConstGauge::new(value)));
        self.family(name, help, MetricType::Gauge, values)
    }

    /// Numbers that only grow, likewise.
    pub fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l, N>, u64)>,
    ) -> fmt::Result {
        let values = values.into_iter();
        let values = values.map(|(labels, value)| (labels, ConstCounter::new(value)));
        self.family(name, help, MetricType::Counter, values)
    }

    /// The same of what is not counted in whole numbers.
    pub fn sums<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l, N>, f64)>,
    ) -> fmt::Result {
        let values = values.into_iter();
        let values = values.map(|(labels, value)| (labels, ConstCounter::new(value)));
        self.family(name, help, MetricType::Counter, values)
    }

    /// How values are spread, likewise.
    pub fn histograms<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l, N>, Histogram)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, values)
    }

    fn family<'l, const N: usize, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        values: impl IntoIterator<Item = (Labels<'l, N>, M)>,
    ) -> fmt::Result {
        let mut encoder = self.described(name, help, kind)?;
        for (labels, value) in values {
            value.encode(encoder.encode_family(&labels)?)?;
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
