//! Quantities with units as they are written in `supervisor.toml`: byte sizes, durations, ports.

use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

/// A number of bytes. Written `768M`, `1G`, `64K` or plain bytes; the suffixes are powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// `n` GiB.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// The size in whole MiB, rounded down.
    pub const fn whole_mib(self) -> u64 {
        self.0 >> 20
    }

    /// In whole MiB, rounded down, from one MiB on: for people.
    #[must_use]
    pub const fn rounded(self) -> Self {
        if self.0 < 1 << 20 { self } else { Self::mib(self.whole_mib()) }
    }

    /// Reads `768M`, `1G`, `64K`, `2T`, `4096`, also with `B`/`iB` behind the letter. The error names the accepted forms.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not a byte size; write a whole number with K, M, G or T, such as \"768M\"");
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let number: u64 = trimmed[..digits].parse().map_err(|_| bad())?;
        let suffix = trimmed[digits..].trim();
        let letter = suffix.strip_suffix("iB").or_else(|| suffix.strip_suffix('B')).unwrap_or(suffix);
        let shift = match letter {
            "" => 0,
            "K" | "k" => 10,
            "M" | "m" => 20,
            "G" | "g" => 30,
            "T" | "t" => 40,
            _ => return Err(bad()),
        };
        number.checked_mul(1 << shift).map(Self).ok_or_else(|| format!("{text:?} is more bytes than 64 bits can count"))
    }
}

impl fmt::Display for ByteSize {
    /// The shortest exact form for configured sizes (`768M`), one decimal for odd ones (`11.8G`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const STEPS: [(u32, &str); 4] = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
        for (shift, letter) in STEPS {
            let unit = 1u64 << shift;
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return f.pad(&format!("{}{letter}", self.0 >> shift));
            }
        }
        for (shift, letter) in STEPS {
            let unit = 1u64 << shift;
            if self.0 >= unit {
                // One decimal is for people; the loss of precision is the point.
                #[allow(clippy::cast_precision_loss)]
                return f.pad(&format!("{:.1}{letter}", self.0 as f64 / unit as f64));
            }
        }
        f.pad(&self.0.to_string())
    }
}

/// Reads `12s`, `250ms`, `5m`, `72h`, `3d`. The error names the accepted forms.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is not a duration; write a whole number with ms, s, m, h or d, such as \"12s\"");
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let number: u64 = trimmed[..digits].parse().map_err(|_| bad())?;
    let millis = match trimmed[digits..].trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| format!("{text:?} is too long a time"))
}

/// Writes a duration for people: `0.3 s`, `12.4 s`, `3m05s`, `2h10m`, `4d03h`.
pub fn human_duration(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0..60 => format!("{:.1} s", d.as_secs_f64()),
        60..3_600 => format!("{}m{:02}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h{:02}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// Writes a number with its thousands apart: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A TCP port, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Port(pub u16);

impl Port {
    /// Where a server that binds it on this address is reached from this host. One that binds every address has loopback among them.
    pub fn reached(self, bind: IpAddr) -> SocketAddr {
        let ip = match bind {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        SocketAddr::new(ip, self.0)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_sizes_read_and_print_their_shortest_exact_form() {
        for (text, bytes) in [("768M", 768 << 20), ("1G", 1 << 30), ("64K", 65536), ("4096", 4096), ("2GiB", 2 << 30)] {
            assert_eq!(ByteSize::parse(text).unwrap().0, bytes, "{text}");
        }
        assert_eq!(ByteSize::mib(768).to_string(), "768M");
        assert_eq!(ByteSize::gib(2).to_string(), "2G");
        assert_eq!(ByteSize(12_670_153_523).to_string(), "11.8G");
        assert_eq!(ByteSize(5).to_string(), "5");
    }

    #[test]
    fn a_server_is_reached_where_it_listens() {
        for (bind, at) in [
            ("127.0.0.1", "127.0.0.1:1"),
            ("0.0.0.0", "127.0.0.1:1"),
            ("192.168.1.10", "192.168.1.10:1"),
            ("::", "[::1]:1"),
            ("::1", "[::1]:1"),
        ] {
            assert_eq!(Port(1).reached(bind.parse().unwrap()), at.parse().unwrap(), "{bind}");
        }
    }

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567"), (104_857_600, "104,857,600")]
        {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn nonsense_sizes_and_durations_are_refused_with_the_accepted_forms() {
        for text in ["", "M", "12X", "-1", "1.5G", "99999999999999999999", "99999999999T"] {
            assert!(ByteSize::parse(text).is_err(), "{text}");
        }
        for text in ["", "12", "s", "12 parsecs", "99999999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(parse_duration("soon").unwrap_err().contains("\"12s\""));
    }

    #[test]
    fn durations_read_every_unit() {
        for (text, ms) in [("250ms", 250), ("12s", 12_000), ("5m", 300_000), ("72h", 259_200_000), ("3d", 259_200_000)]
        {
            assert_eq!(parse_duration(text).unwrap().as_millis(), ms, "{text}");
        }
    }
}
