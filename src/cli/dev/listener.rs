//! A small accept loop for the fakes, which can do what a server framework will not: hang up without an answer.

use std::convert::Infallible;
use std::io;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Put into a response's extensions, it closes the connection instead of sending the response.
#[derive(Clone, Copy, Debug)]
pub struct HangUp;

impl HangUp {
    /// A response that is never sent.
    pub fn response() -> Response {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(Self);
        response
    }
}

/// Serves `router` until `stop`; connections are cut then.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        // A fake that cannot accept has nothing better to do than to try again.
        let Ok((stream, _peer)) = accepted else { continue };
        let (router, stop) = (router.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = serve_one(stream, router) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn serve_one(stream: TcpStream, router: Router) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move {
            let answered: Result<Response, Infallible> = router.oneshot(request.map(Body::new)).await;
            match answered {
                Ok(response) if response.extensions().get::<HangUp>().is_some() => {
                    Err(io::Error::from(io::ErrorKind::ConnectionAborted))
                }
                Ok(response) => Ok(response),
                Err(never) => match never {},
            }
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // The client may leave at any time, and some faults break the connection on purpose.
    let _broken = connection.await;
}
