//! Exporters that would send to the collector itself.
//!
//! `OTEL_EXPORTER_OTLP_ENDPOINT` often names the collector on this machine, for the services that
//! send to it. A collector that took it for a backend would carry each request in a circle, for
//! ever.
//!
//! Invariant: no collector starts, and no configuration is taken, with an endpoint that is known
//! to be one of the collector's own ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use http::Uri;

use crate::config::{ExporterConfig, ExporterKind};

/// A name that takes longer to look up is not refused; it is hardly our own.
const LOOKUP_MAX: Duration = Duration::from_secs(2);

/// Why an exporter of `configs` cannot be: it leads back to one of the ports `own`.
pub(crate) async fn mistake(configs: &[ExporterConfig], own: &[SocketAddr]) -> Option<String> {
    for config in configs.iter().filter(|config| config.kind == ExporterKind::Otlp) {
        if leads_to(&config.endpoint, own).await {
            return Some(format!(
                "`{}` is this collector itself: what it took it would send to itself, for ever. \
                 Name a backend, or, if OTEL_EXPORTER_OTLP_ENDPOINT is meant for services on \
                 this machine, set otel_environment = false",
                config.endpoint
            ));
        }
    }
    None
}

/// Whether `endpoint` is one of the ports `own`.
pub(crate) async fn leads_to(endpoint: &str, own: &[SocketAddr]) -> bool {
    let Some((host, port)) = target(endpoint) else { return false };
    if !own.iter().any(|own| own.port() == port) {
        return false;
    }
    let looked_up = tokio::time::timeout(LOOKUP_MAX, tokio::net::lookup_host((host, port)));
    let Ok(Ok(addresses)) = looked_up.await else { return false };
    addresses.into_iter().any(|to| is_one_of(own, to))
}

/// The same as far as the text says it: a host that must be looked up leads elsewhere.
pub(crate) fn is_said_to_lead_to(endpoint: &str, own: &[SocketAddr]) -> bool {
    let Some((host, port)) = target(endpoint) else { return false };
    let ips: Vec<IpAddr> = match host.parse() {
        Ok(ip) => vec![ip],
        Err(_) if host == "localhost" => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        Err(_) => Vec::new(),
    };
    ips.into_iter().any(|ip| is_one_of(own, SocketAddr::new(ip, port)))
}

/// The host and the port of a URL.
fn target(endpoint: &str) -> Option<(String, u16)> {
    let base = endpoint.parse::<Uri>().ok()?;
    let port = if base.scheme_str() == Some("https") { 443 } else { 80 };
    let host = base.host()?.trim_matches(['[', ']']).to_owned();
    Some((host, base.port_u16().unwrap_or(port)))
}

fn is_one_of(own: &[SocketAddr], to: SocketAddr) -> bool {
    own.iter().any(|own| own.port() == to.port() && is_same(own.ip(), to.ip()))
}

/// Whether what listens at `own` is reached by `to`.
fn is_same(own: IpAddr, to: IpAddr) -> bool {
    let (own, to) = (own.to_canonical(), to.to_canonical());
    own == to
        || to.is_unspecified()
        || (own.is_unspecified() && (to.is_loopback() || is_of_this_machine(to)))
}

/// Only an address of this machine can be bound.
fn is_of_this_machine(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Protocol;

    async fn refused(endpoint: &str, own: &str) -> bool {
        let config = ExporterConfig::new(endpoint, Protocol::Http);
        let own: SocketAddr = own.parse().expect("an address");
        mistake(&[config], &[own]).await.is_some()
    }

    #[tokio::test]
    async fn an_endpoint_that_leads_back_is_refused_and_another_is_not() {
        assert!(refused("http://127.0.0.1:4318", "127.0.0.1:4318").await);
        assert!(refused("http://localhost:4318/x", "127.0.0.1:4318").await);
        assert!(refused("https://127.0.0.1:4318", "0.0.0.0:4318").await);
        assert!(refused("http://[::1]:4318", "[::]:4318").await);
        assert!(!refused("http://127.0.0.1:4319", "127.0.0.1:4318").await);
        assert!(!refused("http://192.0.2.1:4318", "0.0.0.0:4318").await);
        assert!(!refused("http://127.0.0.2:4318", "127.0.0.1:4318").await);
    }
}
