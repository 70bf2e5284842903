//! Whole vox sessions over a stable conduit: prologue, CBOR handshake, `Message` items, RPC on top.
//!
//! The initiator is the crate's own session, as a program would start it. Its acceptor keeps one link only (its conduit
//! gets an exhausted source), so the acceptor here is put together from the crate's public parts: prologue and handshake
//! on the first link, prologue alone on every later one, and the session on top of that conduit.
//!
//! Every call that arrives is printed as `got <text up to the first colon> <length>` and answered with its own text;
//! every answer that arrives is printed as `answer <text up to the first colon> <length>`.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use vox_core::{
    Attachment, DriverReplySink, LinkSource, MessagePlan, NoopClient, SessionKeepaliveConfig, StableConduit,
    TransportMode, accept_transport, acceptor_conduit, handshake_as_acceptor, initiator,
    prepare_acceptor_attachment, recv_client_hello,
};
use vox_stream::StreamLink;
use vox_types::{
    ConnectionSettings, Handler, Link, MessageFamily, MetadataEntry, MethodId, Parity, Payload, ReplySink,
    RequestCall, RequestResponse, SchemaRecvTracker, SelfRef,
};

use crate::{Dial, item, report};

type Tcp = StreamLink<OwnedReadHalf, OwnedWriteHalf>;
type Inbound = vox_core::SplitLink<<Tcp as Link>::Tx, <Tcp as Link>::Rx>;

fn settings(parity: Parity) -> ConnectionSettings {
    ConnectionSettings {
        parity,
        max_concurrent_requests: 64,
    }
}

/// Answers every call with the text it brought.
#[derive(Clone)]
struct Echo;

impl Handler<DriverReplySink> for Echo {
    async fn handle(
        &self,
        call: SelfRef<RequestCall<'static>>,
        reply: DriverReplySink,
        _schemas: Arc<SchemaRecvTracker>,
    ) {
        let text: String = match &call.get().args {
            Payload::PostcardBytes(bytes) => vox_postcard::from_slice(bytes).expect("a string"),
            _ => panic!("an incoming payload is bytes"),
        };
        report("got", &text);
        reply
            .send_reply(RequestResponse {
                ret: Payload::outgoing(&text),
                schemas: Default::default(),
                metadata: Default::default(),
            })
            .await;
    }
}

async fn call(client: &NoopClient, text: &str) -> Result<String, Box<dyn Error>> {
    let text = text.to_string();
    let response = client
        .caller
        .call(RequestCall {
            method_id: MethodId(7),
            args: Payload::outgoing(&text),
            schemas: Default::default(),
            metadata: Default::default(),
        })
        .await
        .map_err(|error| format!("call failed: {error:?}"))?;
    match &response.get().ret {
        Payload::PostcardBytes(bytes) => Ok(vox_postcard::from_slice(bytes)?),
        _ => Err("an incoming payload is bytes".into()),
    }
}

/// Dials a session, opens a virtual connection, makes one call after the other, then serves until it is stopped.
pub async fn connect(source: Dial, calls: usize, size: usize, ping_millis: usize) -> Result<(), Box<dyn Error>> {
    let mut builder = initiator(source, TransportMode::Stable).on_connection(Echo);
    if ping_millis > 0 {
        builder = builder.keepalive(SessionKeepaliveConfig {
            ping_interval: Duration::from_millis(ping_millis as u64),
            pong_timeout: Duration::from_secs(2),
        });
    }
    let client = builder.establish::<NoopClient>().await?;
    println!("established");
    for n in 0..calls {
        let answer = call(&client, &item(n, size)).await?;
        report("answer", &answer);
    }
    println!("done");
    client.caller.closed().await;
    println!("closed");
    Ok(())
}

struct Accepted(mpsc::Receiver<Attachment<Inbound>>);

impl LinkSource for Accepted {
    type Link = Inbound;

    async fn next_link(&mut self) -> std::io::Result<Attachment<Inbound>> {
        self.0
            .recv()
            .await
            .ok_or_else(|| std::io::Error::other("listener gone"))
    }
}

fn tcp(stream: TcpStream) -> Tcp {
    let _ = stream.set_nodelay(true);
    StreamLink::tcp(stream)
}

/// Accepts one session, and for its conduit every later link.
pub async fn accept() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("port {}", listener.local_addr()?.port());
    let (stream, _) = listener.accept().await?;
    let (mode, mut link) = accept_transport(tcp(stream)).await?;
    if mode != TransportMode::Stable {
        return Err("asked for a bare conduit".into());
    }
    let mut handshake = handshake_as_acceptor(
        &link.tx,
        &mut link.rx,
        settings(Parity::Even),
        true,
        true,
        None,
        vec![MetadataEntry::str("vox-service", "Noop")],
    )
    .await?;
    for entry in &handshake.peer_metadata {
        println!("metadata {}", entry.key);
    }
    let plan = MessagePlan::from_handshake(&handshake)?;
    let hello = recv_client_hello(&mut link.rx).await?;
    let (attachments, later) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let attachments = attachments.clone();
            tokio::spawn(async move {
                // No handshake on a later link of the same conduit.
                let Ok((_, link)) = accept_transport(tcp(stream)).await else {
                    return;
                };
                if let Ok(attachment) = prepare_acceptor_attachment(link).await {
                    let _ = attachments.send(attachment).await;
                }
            });
        }
    });
    let conduit = StableConduit::<MessageFamily, _>::with_first_link(link.tx, link.rx, Some(hello), Accepted(later))
        .await?
        .with_message_plan(plan);
    handshake.peer_metadata.clear();
    let client = acceptor_conduit(conduit, handshake)
        .on_connection(Echo)
        .establish::<NoopClient>()
        .await?;
    println!("established");
    client.caller.closed().await;
    println!("closed");
    Ok(())
}
