//! The other end of an interoperability test: a stable conduit of strings from the vox crates.
//!
//! Every item received is printed as `got <text up to the first colon> <length>`, so that the test can judge each
//! direction by itself: what is missing here was lost on the way here.
//!
//!   accept                                   listens, prints `port <n>`, echoes everything
//!   sink <reply every>                       listens, prints `port <n>`, answers every so many items
//!   connect <address> <count> <size>         sends numbered items, one in flight, and expects them back
//!   pump <address> <count> <size> <flight>   the same with many in flight, and prints how long it took
//!   blast <address> <count> <size>           sends without waiting for answers until the last one
//!   session-accept                           a whole vox session as the acceptor, see `session.rs`
//!   session-connect <address> <calls> <size> <ping interval, ms>   a whole vox session as the initiator

mod session;

use std::io::Write;
use std::time::{Duration, Instant};

use facet_core::Facet;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use vox_core::{Attachment, LinkSource, SplitLink, StableConduit, prepare_acceptor_attachment};
use vox_stream::StreamLink;
use vox_types::{Conduit, ConduitRx, ConduitTx, Link, MsgFamily, SelfRef};

struct Strings;

impl MsgFamily for Strings {
    type Msg<'a> = String;

    fn shape() -> &'static facet_core::Shape {
        String::SHAPE
    }
}

type Tcp = StreamLink<OwnedReadHalf, OwnedWriteHalf>;
type Inbound = SplitLink<<Tcp as Link>::Tx, <Tcp as Link>::Rx>;

/// Dials for ever: the conduit itself never retries.
struct Dial(String);

impl LinkSource for Dial {
    type Link = Tcp;

    async fn next_link(&mut self) -> std::io::Result<Attachment<Tcp>> {
        loop {
            if let Ok(stream) = TcpStream::connect(&self.0).await {
                stream.set_nodelay(true)?;
                return Ok(Attachment::initiator(StreamLink::tcp(stream)));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A hub of one: every inbound link whose hello arrives is the conduit's next one.
struct Accept(mpsc::Receiver<Attachment<Inbound>>);

impl LinkSource for Accept {
    type Link = Inbound;

    async fn next_link(&mut self) -> std::io::Result<Attachment<Inbound>> {
        self.0
            .recv()
            .await
            .ok_or_else(|| std::io::Error::other("listener gone"))
    }
}

async fn listen() -> std::io::Result<Accept> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("port {}", listener.local_addr()?.port());
    let (tx, rx) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tx = tx.clone();
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                if let Ok(attachment) = prepare_acceptor_attachment(StreamLink::tcp(stream)).await {
                    let _ = tx.send(attachment).await;
                }
            });
        }
    });
    Ok(Accept(rx))
}

/// The string out of its backing.
fn owned(received: SelfRef<String>) -> String {
    let mut text = String::new();
    received.map(|inner| text = inner);
    text
}

fn report(what: &str, item: &str) {
    let mut out = std::io::stdout().lock();
    let name = item.split(':').next().unwrap_or("");
    let _ = writeln!(out, "{what} {name} {}", item.len());
}

fn item(n: usize, size: usize) -> String {
    let mut text = format!("{n}:");
    while text.len() < size {
        text.push('x');
    }
    text
}

async fn echo() -> Result<(), Box<dyn std::error::Error>> {
    let conduit = StableConduit::<Strings, _>::new(listen().await?).await?;
    let (tx, mut rx) = conduit.split();
    loop {
        // A failed attempt to get a link is reported here instead of retried; the next call tries again.
        match rx.recv().await {
            Ok(Some(received)) => {
                let text = owned(received);
                report("got", &text);
                let prepared = tx.prepare_send(text)?;
                if let Err(error) = tx.send_prepared(prepared).await {
                    println!("error send {error}");
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => println!("error recv {error}"),
        }
    }
}

async fn sink(every: usize) -> Result<(), Box<dyn std::error::Error>> {
    let conduit = StableConduit::<Strings, _>::new(listen().await?).await?;
    let (tx, mut rx) = conduit.split();
    let mut received = 0;
    loop {
        match rx.recv().await {
            Ok(Some(_)) => {
                received += 1;
                if received % every == 0 {
                    let prepared = tx.prepare_send(format!("{received}:"))?;
                    tx.send_prepared(prepared).await?;
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => return Err(Box::new(error)),
        }
    }
}

async fn connect(address: String, count: usize, size: usize) -> Result<(), Box<dyn std::error::Error>> {
    let conduit = StableConduit::<Strings, _>::new(Dial(address)).await?;
    let (tx, mut rx) = conduit.split();
    for n in 0..count {
        let prepared = tx.prepare_send(item(n, size))?;
        tx.send_prepared(prepared).await?;
        match rx.recv().await? {
            Some(received) => report("got", &owned(received)),
            None => return Err("closed".into()),
        }
    }
    println!("done");
    Ok(())
}

async fn pump(address: String, count: usize, size: usize, flight: usize) -> Result<(), Box<dyn std::error::Error>> {
    let conduit = StableConduit::<Strings, _>::new(Dial(address)).await?;
    let (tx, mut rx) = conduit.split();
    let started = Instant::now();
    let (mut sent, mut back) = (0, 0);
    while back < count {
        while sent < count && sent - back < flight {
            let prepared = tx.prepare_send(item(sent, size))?;
            tx.send_prepared(prepared).await?;
            sent += 1;
        }
        rx.recv().await?;
        back += 1;
    }
    println!("seconds {}", started.elapsed().as_secs_f64());
    Ok(())
}

async fn blast(address: String, count: usize, size: usize) -> Result<(), Box<dyn std::error::Error>> {
    let conduit = StableConduit::<Strings, _>::new(Dial(address)).await?;
    let (tx, mut rx) = conduit.split();
    let started = Instant::now();
    let receiving = tokio::spawn(async move {
        loop {
            match rx.recv().await {
                Ok(Some(reply)) => {
                    if owned(reply).starts_with(&format!("{count}:")) {
                        return;
                    }
                }
                _ => return,
            }
        }
    });
    for n in 0..count {
        let prepared = tx.prepare_send(item(n, size))?;
        tx.send_prepared(prepared).await?;
    }
    receiving.await?;
    println!("seconds {}", started.elapsed().as_secs_f64());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments[at].parse::<usize>().expect("a number");
    match arguments[0].as_str() {
        "accept" => echo().await,
        "sink" => sink(number(1)).await,
        "connect" => connect(arguments[1].clone(), number(2), number(3)).await,
        "pump" => pump(arguments[1].clone(), number(2), number(3), number(4)).await,
        "blast" => blast(arguments[1].clone(), number(2), number(3)).await,
        "session-accept" => session::accept().await,
        "session-connect" => {
            session::connect(Dial(arguments[1].clone()), number(2), number(3), number(4)).await
        }
        other => Err(format!("unknown role {other}").into()),
    }
}
