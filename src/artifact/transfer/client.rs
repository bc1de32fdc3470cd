//! The HTTP client: proxies of the environment, authorities of the system and the configuration, redirects with bounds.

use super::{Limiter, Timing, TransferFault, answer::Asked};
use reqwest::{
    Certificate, Client, Response,
    header::{ACCEPT_ENCODING, HeaderValue, IF_RANGE, RANGE},
    redirect::{Attempt, Policy},
};
use std::{
    collections::BTreeSet,
    error::Error,
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Most redirects of one request. Vendors use one or two.
const REDIRECTS: usize = 8;

/// How the network is reached, shared by all downloads of a run.
#[derive(Debug)]
pub struct Network {
    /// Bounds.
    pub timing: Timing,
    /// Bytes per second.
    pub limiter: Limiter,
    /// A file of certificates of authorities to trust besides the system's, PEM.
    ca_file: Option<PathBuf>,
    /// Hosts that could not be reached.
    gone: Mutex<BTreeSet<String>>,
}

/// A redirect that is not followed.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Refused {}

impl Network {
    /// With these bounds.
    pub fn new(timing: Timing, rate: Option<u64>, ca_file: Option<&Path>) -> Self {
        Self { timing, limiter: Limiter::new(rate), ca_file: ca_file.map(Path::to_owned), gone: Mutex::default() }
    }

    /// Whether there are authorities to check a server's certificate with. Reaches no server.
    pub fn has_authorities(&self) -> Result<(), TransferFault> {
        self.client("https://localhost/").map(drop)
    }

    /// Remembers that the host of `url` is out of reach.
    pub fn lost(&self, url: &str) {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).insert(host(url).to_owned());
    }

    /// Whether the host of `url` could not be reached before.
    pub fn is_lost(&self, url: &str) -> Option<TransferFault> {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.contains(host(url)).then(|| TransferFault::Skipped { host: host(url).to_owned() })
    }

    /// A request for what is not there yet. A client per request: it belongs to the runtime of its download.
    pub(super) fn get(
        &self,
        url: &str,
        asked: &Asked,
    ) -> Result<impl Future<Output = reqwest::Result<Response>> + use<>, TransferFault> {
        let client = self.client(url)?;
        // Compressed again on the way, lengths and ranges would count something else.
        let mut request = client.get(url).header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let (Some(validator), true) = (&asked.validator, asked.offset > 0) {
            request = request.header(RANGE, format!("bytes={}-", asked.offset)).header(IF_RANGE, validator.as_str());
        }
        Ok(request.send())
    }

    fn client(&self, url: &str) -> Result<Client, TransferFault> {
        let builder = || {
            Client::builder()
                .user_agent(concat!("cdc-supervisor/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(self.timing.connect)
                .redirect(Policy::custom(redirect))
                .referer(false)
        };
        let authorities = |why: String| TransferFault::Authorities { why };
        let mut with = builder();
        if let Some(path) = &self.ca_file {
            let pem = fs::read(path).map_err(|e| authorities(format!("{} cannot be read: {e}", path.display())))?;
            let list = Certificate::from_pem_bundle(&pem).unwrap_or_default();
            if list.is_empty() {
                return Err(authorities(format!("{} holds no certificate", path.display())));
            }
            with = with.tls_certs_merge(list);
        }
        match with.build() {
            Ok(client) => Ok(client),
            // Nothing to trust is no obstacle where no certificate is shown; a redirect to https fails by itself then.
            Err(_) if url.starts_with("http://") => {
                builder().tls_certs_only(std::iter::empty()).build().map_err(|e| authorities(innermost(&e)))
            }
            Err(e) => Err(authorities(innermost(&e))),
        }
    }
}

fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let to = attempt.url();
    let refused = if attempt.previous().len() > REDIRECTS {
        Some(format!("more than {REDIRECTS} times, last to {to}"))
    } else if attempt.previous().iter().any(|from| from.scheme() == "https") && to.scheme() != "https" {
        Some(format!("from https to {to}, which anybody in between could change"))
    } else {
        None
    };
    match refused {
        Some(why) => attempt.error(Refused(why)),
        None => attempt.follow(),
    }
}

/// `HOST[:PORT]` of a URL.
pub(super) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// The causes of an error, outermost first.
fn chain<'a>(e: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(e);
    std::iter::from_fn(move || {
        let now = next?;
        next = now.source();
        Some(now)
    })
}

fn innermost(e: &(dyn Error + 'static)) -> String {
    chain(e).last().map_or_else(String::new, ToString::to_string)
}

/// The cause below the layers of the client, as an error of its own: their words repeat each other.
fn cause(e: &reqwest::Error) -> Box<dyn Error + Send + Sync> {
    innermost(e).into()
}

/// Why no answer came.
pub(super) fn failed(url: &str, e: reqwest::Error) -> TransferFault {
    let e = e.without_url();
    let host = host(url).to_owned();
    if e.is_redirect() {
        return TransferFault::Redirect { url: url.to_owned(), why: innermost(&e) };
    }
    let said = |words: &str| chain(&e).any(|c| c.to_string().contains(words));
    let source = cause(&e);
    // hyper-util's words for a failed look-up (client/legacy/connect/http.rs); its type is private.
    if said("dns error") {
        return TransferFault::Name { host, source };
    }
    // rustls::Error::InvalidCertificate (error.rs), wrapped by hyper-rustls into an io::Error.
    if said("invalid peer certificate") {
        return TransferFault::Certificate { host, source };
    }
    if e.is_connect() || e.is_timeout() {
        return TransferFault::Connect { host, source };
    }
    if e.is_builder() {
        return TransferFault::NotTheFile { url: url.to_owned(), why: format!("it is no address: {source}") };
    }
    TransferFault::Broken { url: url.to_owned(), source }
}

/// Why a body ended.
pub(super) fn broken(url: &str, e: reqwest::Error) -> TransferFault {
    TransferFault::Broken { url: url.to_owned(), source: cause(&e.without_url()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_address_is_what_stands_before_its_path() {
        for (url, wanted) in [("https://a.b:8/c?d", "a.b:8"), ("http://a", "a"), ("https://a?x", "a"), ("x", "x")] {
            assert_eq!(host(url), wanted);
        }
    }

    #[test]
    fn a_host_that_was_lost_is_not_asked_again_under_another_path() {
        let network = Network::new(Timing::default(), None, None);
        assert!(network.is_lost("https://a/x").is_none());
        network.lost("https://a/x");
        assert!(network.is_lost("https://a/y").is_some() && network.is_lost("https://b/x").is_none());
    }

    #[test]
    fn a_file_without_certificates_is_no_file_of_authorities() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        for text in [None, Some("nothing")] {
            if let Some(text) = text {
                fs::write(&file, text).unwrap();
            }
            let network = Network::new(Timing::default(), None, Some(&file));
            let e = network.client("https://a/").unwrap_err();
            assert!(matches!(e, TransferFault::Authorities { .. }), "{e}");
            assert!(e.to_string().contains("ca.pem"), "{e}");
        }
    }
}
