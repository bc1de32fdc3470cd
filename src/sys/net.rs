//! TCP ports: who listens on one, and which are free.

use super::{
    port_owners::{self, Noted},
    process,
};
use crate::base::Timestamp;
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
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
    fn a_free_port_is_not_taken() {
        assert!(!is_taken(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()))).unwrap());
    }
}
