//! Host names to addresses, in any container.
//!
//! A static C library's resolver may load parts of itself at run time, depending on its version and on files that an image
//! made of one program does not have. This one depends on neither: it reads `/etc/hosts` and
//! `/etc/resolv.conf` itself, where Docker puts its name service.

use std::io;
use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;

/// The addresses of `host`, which may be one itself. Never empty.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
    {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    match ask(host).await {
        Ok(found) if !found.is_empty() => Ok(found
            .into_iter()
            .map(|address| SocketAddr::new(address, port))
            .collect()),
        // On a person's machine there may be more ways to know a name than these two files.
        _ if !cfg!(target_feature = "crt-static") => {
            Ok(tokio::net::lookup_host((host, port)).await?.collect())
        }
        Ok(_) => Err(io::Error::other(format!("{host:?} has no address"))),
        Err(error) => Err(error),
    }
}

/// The same, for callers that are not async.
pub(crate) fn resolve_blocking(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(resolve(host, port))
}

/// Made anew for every question, which are few: what it knows may have changed when a peer has moved.
async fn ask(host: &str) -> io::Result<Vec<IpAddr>> {
    let explain = |error: &dyn std::fmt::Display| {
        io::Error::other(format!("cannot resolve {host:?}: {error}"))
    };
    let mut builder = TokioResolver::builder_tokio().map_err(|error| explain(&error))?;
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    let resolver = builder.build().map_err(|error| explain(&error))?;
    let found = resolver
        .lookup_ip(host)
        .await
        .map_err(|error| explain(&error))?;
    Ok(found.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stand_for_themselves() {
        let cases = [
            ("127.0.0.1", "127.0.0.1:80"),
            ("::1", "[::1]:80"),
            ("[::1]", "[::1]:80"),
        ];
        for (host, expected) in cases {
            assert_eq!(
                resolve_blocking(host, 80).unwrap(),
                [expected.parse().unwrap()]
            );
        }
    }

    #[test]
    fn this_machine_is_known() {
        assert!(
            resolve_blocking("localhost", 80)
                .unwrap()
                .iter()
                .all(|address| address.ip().is_loopback())
        );
    }
}
