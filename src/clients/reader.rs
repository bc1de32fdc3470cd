//! Reads big-endian values off the front of an answer: what ZooKeeper's and Kafka's encodings have in common.

/// What is left of an answer. An error says what was expected and how much was there; nothing panics.
#[derive(Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `n` bytes.
    pub(super) fn take(&mut self, n: usize, what: &str) -> Result<&'a [u8], String> {
        let Some((head, rest)) = self.0.split_at_checked(n) else {
            return Err(format!("its answer ends inside {what}: {n} bytes expected, {} left", self.0.len()));
        };
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N, what)?);
        Ok(bytes)
    }

    /// Two bytes.
    pub(super) fn short(&mut self, what: &str) -> Result<i16, String> {
        self.array(what).map(i16::from_be_bytes)
    }

    /// Four bytes.
    pub(super) fn int(&mut self, what: &str) -> Result<i32, String> {
        self.array(what).map(i32::from_be_bytes)
    }

    /// Eight bytes.
    pub(super) fn long(&mut self, what: &str) -> Result<i64, String> {
        self.array(what).map(i64::from_be_bytes)
    }
}
