//! What may be called what.

/// Whether `text` is a host name of one label: `worker1`.
pub(super) fn is_label(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether `text` is a host name of one or more labels: `cluster.gov`.
pub(super) fn is_host_name(text: &str) -> bool {
    // All digits in the last label would make it look like an address.
    let last_is_number = text
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    text.len() <= 253 && text.split('.').all(is_label) && !last_is_number
}

/// Whether `text` can be an account on Raspberry Pi OS, whose first-boot script is stricter than Linux itself.
pub(super) fn is_user(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=32).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(allowed)
        && text != "root"
}

/// Whether `text` is one component of a path, free of characters that fstab or a shell would take for its own.
pub(super) fn is_path_component(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(allowed)
        && !text.starts_with(['.', '-'])
}

/// Whether `text` is an absolute path of such components.
pub(super) fn is_absolute_path(text: &str) -> bool {
    text.strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(is_path_component))
}

/// Whether `text` is the name of a Debian package.
pub(super) fn is_package(text: &str) -> bool {
    let allowed =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.');
    text.len() >= 2 && text.bytes().all(allowed) && !text.starts_with(['+', '-', '.'])
}

/// Whether `text` is a registry as Docker's `insecure-registries` wants it: a host with or without a port, or a
/// subnet.
pub(super) fn is_registry(text: &str) -> bool {
    if text.contains('/') {
        return text.parse::<ipnet::IpNet>().is_ok();
    }
    let (host, port) = text.split_once(':').unwrap_or((text, "5000"));
    let host_is_good = is_host_name(host) || host.parse::<std::net::Ipv4Addr>().is_ok();
    host_is_good && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Whether `text` is the address of a web server or of a directory on one, without anything that a shell, `apt` or a
/// reader would take for something else: `https://download.docker.com`.
pub(super) fn is_url(text: &str) -> bool {
    let Some(rest) = ["https://", "http://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
    else {
        return false;
    };
    let (authority, path) = rest
        .split_once('/')
        .map_or((rest, None), |(a, p)| (a, Some(p)));
    let (host, port) = authority.split_once(':').unwrap_or((authority, "443"));
    let host_is_good = is_host_name(host) || host.parse::<std::net::Ipv4Addr>().is_ok();
    let allowed =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~' | b'/' | b'+');
    host_is_good
        && port.parse::<u16>().is_ok_and(|port| port > 0)
        && path.is_none_or(|path| {
            !path.is_empty() && path.bytes().all(allowed) && !path.ends_with('/')
        })
}

/// Whether `text` is a password hash as `crypt` makes them: `$6$salt$hash`.
pub(super) fn is_password_hash(text: &str) -> bool {
    let allowed =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/' | b'$' | b'=' | b',');
    let known = ["$5$", "$6$", "$y$"]
        .iter()
        .any(|scheme| text.starts_with(scheme));
    known && text.len() >= 40 && text.bytes().all(allowed)
}
