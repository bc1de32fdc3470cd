//! Servers of a few lines: they take connections on a free loopback port and do with each what the test says.

use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A running fake server; dropping it ends it.
pub struct Fake {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves every connection with `serve`, each in its own task.
pub async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Fake
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Fake { address, task }
}

/// Reads something, then writes these bytes and hangs up.
pub async fn says(bytes: impl AsRef<[u8]> + Send + Sync + Clone + 'static) -> Fake {
    server(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(bytes.as_ref()).await;
        }
    })
    .await
}

/// Takes connections and never says a word.
pub async fn silent() -> Fake {
    server(|mut stream| async move {
        // ends when the client hangs up
        while let Ok(1..) = stream.read(&mut [0; 4096]).await {}
    })
    .await
}

/// Writes one byte of this and then never another.
pub async fn stalls_after_a_byte() -> Fake {
    server(|mut stream| async move {
        let _ = stream.write_all(&[0]).await;
        while let Ok(1..) = stream.read(&mut [0; 4096]).await {}
    })
    .await
}

/// A port nobody listens on: taken and given back.
pub async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Reads one length-prefixed frame; none at the end of the stream.
pub async fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_i32().await.ok()?;
    let mut frame = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut frame).await.ok()?;
    Some(frame)
}

/// Writes one length-prefixed frame.
pub async fn write_frame(stream: &mut TcpStream, body: &[u8]) {
    let length = i32::try_from(body.len()).unwrap();
    let _ = stream.write_all(&[&length.to_be_bytes()[..], body].concat()).await;
}
