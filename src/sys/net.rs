//! TCP ports: who listens on one, and which are free.

use super::{
    port_owners::{self, Noted},
    process,
};
use crate::base::Timestamp;
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
};

/// Who listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOwner {
    /// The process; none when it belongs to another user and we may not look.
    pub pid: Option<i32>,
    /// Its command line.
    pub command: Option<String>,
    /// Its user. Known also without a pid: the kernel's table names the socket's owner.
    pub user: Option<String>,
    /// Since when that process runs.
    pub since: Option<Timestamp>,
    /// The address it listens on.
    pub address: SocketAddr,
}

impl PortOwner {
    /// Who it is, as far as it can be seen: `python3 -m http.server 9092 (pid 4711, user kim)`.
    pub fn describe(&self) -> String {
        let user = self.user.as_ref().map(|user| format!("user {user}"));
        let pid = self.pid.map(|pid| format!("pid {pid}"));
        let facts: Vec<String> = pid.into_iter().chain(user).collect();
        let program = self.command.as_deref().filter(|c| !c.is_empty()).unwrap_or("a program");
        if facts.is_empty() { program.to_owned() } else { format!("{program} ({})", facts.join(", ")) }
    }
}

/// One LISTEN line of `/proc/net/tcp` or `tcp6` (proc(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listener {
    address: SocketAddr,
    uid: u32,
    inode: u64,
}

/// The listener that would keep us from binding `address`; none when there is none.
pub fn listener_owner(address: SocketAddr) -> Option<PortOwner> {
    owner(&listeners().find(|l| conflict(l.address, address))?)
}

/// The listener on exactly this address; none when there is none.
pub fn exact_owner(address: SocketAddr) -> Option<PortOwner> {
    owner(&listeners().find(|l| l.address == address)?)
}

fn listeners() -> impl Iterator<Item = Listener> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|file| fs::read_to_string(file).ok());
    tables.flat_map(|table| parse_table(&table))
}

/// Writes down into `file` who listens on `ports`, for a daemon that may not look for itself. Returns how many.
pub fn note_owners(file: &Path, ports: &[u16]) -> io::Result<usize> {
    let ours = listeners().filter(|l| ports.contains(&l.address.port()));
    let noted: Vec<Noted> = ours.filter_map(|l| Noted::of(l.inode, seen(&l))).collect();
    port_owners::write(file, &noted)?;
    Ok(noted.len())
}

fn owner(listener: &Listener) -> Option<PortOwner> {
    let seen = seen(listener);
    if seen.pid.is_some() {
        return Some(seen);
    }
    Some(port_owners::find(Path::new(port_owners::FILE), listener.inode).unwrap_or(seen))
}

fn seen(listener: &Listener) -> PortOwner {
    let pid = holder_of_socket(listener.inode);
    PortOwner {
        pid,
        command: pid.map(process::command_line),
        user: pid.and_then(process::user_of).or_else(|| Some(user_name(listener.uid))),
        since: pid.and_then(process::started_at),
        address: listener.address,
    }
}

fn user_name(uid: u32) -> String {
    match nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    }
}

fn holder_of_socket(inode: u64) -> Option<i32> {
    let wanted = format!("socket:[{inode}]");
    process::all().into_iter().find(|pid| {
        process::descriptors(*pid).any(|link| fs::read_link(link).is_ok_and(|t| t.as_os_str() == wanted.as_str()))
    })
}

/// Whether binding `wanted` fails because of a listener on `held`. An IPv6 wildcard is taken to cover IPv4 too: the table
/// does not say whether it is IPV6_V6ONLY, and a false alarm is the cheaper mistake.
fn conflict(held: SocketAddr, wanted: SocketAddr) -> bool {
    if held.port() != wanted.port() {
        return false;
    }
    let (held, wanted) = (held.ip().to_canonical(), wanted.ip().to_canonical());
    match (held, wanted) {
        _ if held == wanted => true,
        (IpAddr::V6(a), _) | (_, IpAddr::V6(a)) if a.is_unspecified() => true,
        (IpAddr::V4(a), IpAddr::V4(b)) => a.is_unspecified() || b.is_unspecified(),
        _ => false,
    }
}

fn parse_table(text: &str) -> Vec<Listener> {
    text.lines().skip(1).filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Listener> {
    // sl local_address rem_address st tx:rx tr:tm->when retrnsmt uid timeout inode
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, local, _, "0A", _, _, _, uid, _, inode, ..] = fields[..] else { return None };
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // each 32-bit word is printed as a number, so its bytes stand in the machine's order
    let words: Vec<[u8; 4]> = ip
        .as_bytes()
        .chunks(8)
        .map(|w| Some(u32::from_str_radix(std::str::from_utf8(w).ok()?, 16).ok()?.to_ne_bytes()))
        .collect::<Option<_>>()?;
    let ip = match words[..] {
        [v4] => IpAddr::V4(Ipv4Addr::from(v4)),
        [a, b, c, d] => {
            let mut bytes = [0; 16];
            for (to, from) in bytes.chunks_mut(4).zip([a, b, c, d]) {
                to.copy_from_slice(&from);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(Listener { address: SocketAddr::new(ip, port), uid: uid.parse().ok()?, inode: inode.parse().ok()? })
}

/// Whether `address` cannot be bound because somebody has it; tries, and lets go at once. Connections in TIME_WAIT do not
/// count (std binds with SO_REUSEADDR, as every server does). Other errors (a foreign address, a privileged port) are not
/// "taken" and are returned.
pub fn is_taken(address: SocketAddr) -> io::Result<bool> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => Ok(true),
        Err(e) => Err(e),
    }
}

/// Whether `ip` is an address of this host. Nothing else can be bound (EADDRNOTAVAIL), unless the host was told to allow it
/// (`ip_nonlocal_bind`, for addresses that wander between hosts): then it must be in the kernel's own tables. Not by getifaddrs(3): that
/// asks over netlink, which the unit's sandbox refuses (`RestrictAddressFamilies=`).
pub fn is_own(ip: IpAddr) -> io::Result<bool> {
    let ip = ip.to_canonical();
    match UdpSocket::bind((ip, 0)) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => return Ok(false),
        Err(e) => return Err(e),
    }
    // Unspecified: whoever connects to it reaches their own host (ip(7)).
    if ip.is_loopback() || ip.is_unspecified() {
        return Ok(true);
    }
    let (version, table) = match ip {
        IpAddr::V4(_) => ("ipv4", "/proc/net/fib_trie"),
        IpAddr::V6(_) => ("ipv6", "/proc/net/if_inet6"),
    };
    // A kernel without the setting is looked at more closely.
    let allowed = fs::read_to_string(format!("/proc/sys/net/{version}/ip_nonlocal_bind"));
    if allowed.is_ok_and(|text| text.trim() == "0") {
        return Ok(true);
    }
    let text = fs::read_to_string(table)?;
    Ok(match ip {
        IpAddr::V4(ip) => is_local_route(&text, ip),
        IpAddr::V6(ip) => is_on_an_interface(&text, ip),
    })
}

/// Whether `/proc/net/fib_trie` routes an address to the host itself: `|-- 10.0.0.5`, and below it `/32 host LOCAL` (net/ipv4/fib_trie.c,
/// fib_trie_seq_show). In the table `Local:`, which a bind goes by where it may not bind everything: another one may take in the whole world for
/// a proxy.
fn is_local_route(tables: &str, ip: Ipv4Addr) -> bool {
    let (mut is_local, mut leaf) = (false, None);
    tables.lines().any(|line| {
        if !line.starts_with(' ') {
            is_local = line == "Local:";
        }
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["|--", address] => {
                leaf = address.parse::<Ipv4Addr>().ok();
                false
            }
            [prefix, _, "LOCAL", ..] if is_local => {
                let bits =
                    prefix.strip_prefix('/').and_then(|bits| bits.parse::<u32>().ok()).filter(|bits| *bits <= 32);
                let same = |bits: u32, leaf: Ipv4Addr| {
                    (u64::from(leaf.to_bits()) ^ u64::from(ip.to_bits())) >> (32 - bits) == 0
                };
                bits.zip(leaf).is_some_and(|(bits, leaf)| same(bits, leaf))
            }
            _ => false,
        }
    })
}

/// Whether an interface has an address, by `/proc/net/if_inet6`: 32 digits, and more about it (net/ipv6/addrconf.c, if6_seq_show).
fn is_on_an_interface(table: &str, ip: Ipv6Addr) -> bool {
    let digits = format!("{:032x}", ip.to_bits());
    table.lines().any(|line| line.split_ascii_whitespace().next() == Some(digits.as_str()))
}

/// A TCP port of 127.0.0.1 that is free now. Somebody else may take it before the caller does.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_taken_port_is_named_with_command_user_and_age() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        assert!(is_taken(address).unwrap());
        let owner = listener_owner(address).unwrap();
        assert_eq!(owner.pid, i32::try_from(std::process::id()).ok());
        assert_eq!(owner.address, address);
        assert!(owner.command.unwrap().contains("cdc"));
        assert!(owner.user.is_some() && owner.since.is_some());
        drop(held);
        // Another test of this process may be between fork and exec right now: its child has a copy of the listener until
        // the exec closes it (FD_CLOEXEC, execve(2)), and then the port is free. Ends only when that is so.
        while is_taken(address).unwrap() {
            std::thread::yield_now();
        }
        assert_eq!(listener_owner(address), None);
    }

    #[test]
    fn wildcards_and_mapped_addresses_conflict_and_other_ports_do_not() {
        let a = |s: &str| s.parse::<SocketAddr>().unwrap();
        for (held, wanted, expected) in [
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "0.0.0.0:1", true),
            ("[::]:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "[::]:1", true),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1:1", true),
            ("[::1]:1", "[::1]:1", true),
            ("[::1]:1", "127.0.0.1:1", false),
            ("127.0.0.2:1", "127.0.0.1:1", false),
            ("0.0.0.0:1", "[::1]:1", false),
            ("0.0.0.0:2", "127.0.0.1:1", false),
        ] {
            assert_eq!(conflict(a(held), a(wanted)), expected, "{held} {wanted}");
        }
    }

    #[test]
    fn only_listen_lines_count_and_garbage_is_skipped() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 x\n\
            1: 0100007F:1F91 0100007F:0001 01 00000000:00000000 00:00000000 00000000  1000        0 4243 1 x\n\
            2: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 77 1\n\
            garbage\n";
        let found = parse_table(table);
        if cfg!(target_endian = "little") {
            assert_eq!(found[0], Listener { address: "127.0.0.1:8080".parse().unwrap(), uid: 1000, inode: 4242 });
            assert_eq!(found[1], Listener { address: "[::1]:80".parse().unwrap(), uid: 0, inode: 77 });
        }
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn an_address_is_the_hosts_own_when_the_kernel_has_it_and_not_when_it_may_be_bound() {
        let a = |s: &str| s.parse::<IpAddr>().unwrap();
        // TEST-NET-3 and the range for documentation (RFC 5737, RFC 3849) are nobody's
        let foreign = [a("203.0.113.7"), a("2001:db8::7")];
        assert!(
            is_own(a("127.0.0.2")).unwrap() && is_own(a("0.0.0.0")).unwrap() && is_own(a("::ffff:127.0.0.1")).unwrap()
        );
        for ip in foreign {
            // A host without IPv6 has none of its addresses, in other words.
            assert!(!is_own(ip).unwrap_or(false), "{ip}");
        }
        // A thread with a network of its own, in which everything may be bound: root only.
        let bound = std::thread::spawn(move || {
            // SAFETY: takes a number; the thread shares no network with others from here on, and ends.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return None;
            }
            let setting = |version: &str| format!("/proc/sys/net/{version}/ip_nonlocal_bind");
            let allow = |version: &str| fs::write(setting(version), "1").is_ok();
            let allowed = foreign.into_iter().zip(["ipv4", "ipv6"]).filter(|(_, version)| allow(version));
            Some(allowed.map(|(ip, _)| (ip, UdpSocket::bind((ip, 0)).is_ok(), is_own(ip).unwrap())).collect::<Vec<_>>())
        });
        for (ip, is_bound, is_own) in bound.join().unwrap().unwrap_or_default() {
            assert_eq!((is_bound, is_own), (true, false), "{ip}");
        }
    }

    #[test]
    fn routes_to_the_host_and_addresses_of_interfaces_are_read_as_the_kernel_writes_them() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 10.9.9.9\n        /32 host LOCAL\n\
            Local:\n  +-- 127.0.0.0/8 2 0 2\n     |-- 127.0.0.0\n        /8 host LOCAL\n     |-- 10.0.0.0\n        /24 link UNICAST\n     \
            |-- 10.0.0.5\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n     \
            |-- 10.1.0.0\n        /16 link UNICAST\n        /24 host LOCAL\n\
            Id 100:\n     |-- 0.0.0.0\n        /0 host LOCAL\n";
        for (ip, own) in [
            ("10.0.0.5", true),
            ("127.1.2.3", true),
            ("10.1.0.77", true),
            ("10.1.1.77", false),
            ("10.0.0.6", false),
            ("10.0.0.255", false),
            ("10.9.9.9", false),
            ("8.8.8.8", false),
        ] {
            assert_eq!(is_local_route(table, ip.parse().unwrap()), own, "{ip}");
        }
        let table = "fd000000000000000000000000000002 04 40 00 82     eth0\n00000000000000000000000000000001 01 80 10 80       lo\n";
        for (ip, own) in [("fd00::2", true), ("::1", true), ("fd00::3", false)] {
            assert_eq!(is_on_an_interface(table, ip.parse().unwrap()), own, "{ip}");
        }
    }

    #[test]
    fn a_free_port_is_not_taken() {
        assert!(!is_taken(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()))).unwrap());
    }
}
