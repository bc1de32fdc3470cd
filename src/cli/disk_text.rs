//! What `status` says of a file system that has little room left.

use super::table::size;
use crate::{base::NodeName, control::wire::DiskState};

/// One line; none while there is room.
pub fn remark(disk: &DiskState) -> Option<String> {
    let (free, mount) = (size(disk.free_bytes), &disk.mount);
    let names: Vec<&str> = disk.held.iter().map(NodeName::as_str).collect();
    let what = match disk.state.as_str() {
        "fine" => return None,
        "low" => format!("less than {}: brokers are stopped below {}", size(disk.low_bytes), size(disk.stop_bytes)),
        // An older daemon names nobody.
        _ if names.is_empty() => format!("nodes are held down until {} are free", size(disk.resume_bytes)),
        _ => format!("{} are held down until {} are free", names.join(", "), size(disk.resume_bytes)),
    };
    let by =
        if disk.takers.is_empty() { String::new() } else { format!("; most is taken by {}", disk.takers.join(", ")) };
    Some(format!("disk: {free} free on {mount}, {what}{by}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_room_has_a_line_that_says_what_happens_and_who_takes_it() {
        let disk = |state: &str, free: u64| DiskState {
            mount: "/srv".into(),
            state: state.into(),
            total_bytes: 100 << 30,
            free_bytes: free << 20,
            ballast_bytes: 0,
            low_bytes: 2 << 30,
            stop_bytes: 512 << 20,
            resume_bytes: 1 << 30,
            nodes: vec![NodeName::broker(1), NodeName::mysql()],
            held: match state {
                "stop" => vec![NodeName::broker(1)],
                "last" => vec![NodeName::broker(1), NodeName::mysql()],
                _ => Vec::new(),
            },
            takers: vec!["data of broker-1 9G (/srv/b1)".into()],
        };
        assert_eq!(remark(&disk("fine", 9_000)), None);
        assert_eq!(
            remark(&disk("low", 1_900)).unwrap(),
            "disk: 1.9G free on /srv, less than 2G: brokers are stopped below 512M; most is taken by data of broker-1 9G (/srv/b1)"
        );
        assert!(remark(&disk("stop", 500)).unwrap().contains("broker-1 are held down until 1G are free"));
        assert!(remark(&disk("last", 50)).unwrap().contains("broker-1, mysql are held down until"));
    }
}
