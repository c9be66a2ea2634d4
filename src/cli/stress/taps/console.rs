//! What a console costs that somebody looks at: turns a second with it, beside none.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use coppicer::{Console, ConsoleOptions, Runtime, ThreadHandle};
use tokio::task::{JoinHandle, spawn_blocking};

use super::super::Broken;
use super::super::load::{PATIENCE, on_worker};
use super::super::rounds::Rounds;
use super::turns;

/// Rounds of turns with the console, which one client has open as the page has it: it reads the frames of
/// the tree at once. The client's own work is on a thread of its own, and in the figure.
pub(super) async fn measure(
    runtime: &Runtime,
    threads: &[ThreadHandle],
    place: &str,
    rounds: usize,
    time: Duration,
) -> Result<Rounds, Broken> {
    let broken = |error: &dyn std::error::Error| Broken::Console(error.to_string());
    let folder = tempfile::tempdir().map_err(|error| broken(&error))?;
    let mut with = Rounds::new(format!("turns {place}, a console with one reader"), "turns/s");
    for round in 0..rounds {
        for connected in [round % 2 == 0, round % 2 != 0] {
            if !connected {
                with.beside("none", on_worker(turns(threads.to_vec(), time)).await?);
                continue;
            }
            let options = ConsoleOptions::new(folder.path().join("console.token"))
                .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
            let console = Console::start(runtime, options).map_err(|error| broken(&error))?;
            let reader = read_tree(&console).await?;
            with.ours(on_worker(turns(threads.to_vec(), time)).await?);
            console.stop().await;
            reader.await?.map_err(|error| broken(&error))?;
        }
    }
    Ok(with)
}

/// A client that has the tree, and reads what changes of it until the console ends.
async fn read_tree(console: &Console) -> Result<JoinHandle<std::io::Result<()>>, Broken> {
    let (address, url) = (console.address(), console.url());
    let token = url.split_once("token=").map_or("", |(_, token)| token).to_owned();
    let connect = move || -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!(
            "GET /api/tree/stream HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let (mut answer, mut bytes) = (Vec::new(), vec![0; 1 << 16]);
        while !answer.windows(12).any(|bytes| bytes == b"event: frame") {
            let read = stream.read(&mut bytes)?;
            if read == 0 {
                let said = String::from_utf8_lossy(&answer).into_owned();
                return Err(std::io::Error::new(ErrorKind::UnexpectedEof, said));
            }
            answer.extend_from_slice(&bytes[..read]);
        }
        Ok(stream)
    };
    let stream = spawn_blocking(connect).await?;
    let mut stream = stream.map_err(|error| Broken::Console(error.to_string()))?;
    Ok(spawn_blocking(move || {
        let mut bytes = vec![0; 1 << 16];
        loop {
            match stream.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // The console does not wait for who has not read all.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }))
}
