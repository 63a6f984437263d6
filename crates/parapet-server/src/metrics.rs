//! A few counters, in Prometheus' text form, on the administration listener: loopback only, no
//! secrets, no names.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::front::listener::told;
use crate::front::{ResponseBody, full};

/// Connections at a time; one scraper needs one.
const CONNECTIONS: usize = 16;

/// What is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    by_class: [AtomicU64; 5],
    device_requests: AtomicU64,
}

impl Metrics {
    /// Counts an answer of the API listener.
    pub fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.by_class[class].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request of a device.
    pub fn device_asked(&self) {
        self.device_requests.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from(
            "# HELP parapet_requests_total Answers of the API listener by class of status.\n\
             # TYPE parapet_requests_total counter\n",
        );
        for (index, count) in self.by_class.iter().enumerate() {
            // Writing to a String cannot fail.
            let _written = writeln!(
                text,
                "parapet_requests_total{{class=\"{}xx\"}} {}",
                index + 1,
                count.load(Ordering::Relaxed)
            );
        }
        let _written = writeln!(
            text,
            "# HELP parapet_device_requests_total Requests of devices.\n\
             # TYPE parapet_device_requests_total counter\n\
             parapet_device_requests_total {}",
            self.device_requests.load(Ordering::Relaxed)
        );
        text
    }
}

/// Serves `/metrics` until the shutdown is told.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = told(&mut shutdown) => break,
        };
        while tasks.try_join_next().is_some() {}
        let Ok((stream, _)) = accepted else { continue };
        if tasks.len() >= CONNECTIONS {
            continue;
        }
        let metrics = Arc::clone(&metrics);
        tasks.spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &metrics);
                async move { Ok::<_, std::convert::Infallible>(answer) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(std::time::Duration::from_secs(5))
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = served.await {
                tracing::debug!(%error, "a connection for metrics ended");
            }
        });
    }
    tasks.shutdown().await;
}

fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<ResponseBody> {
    if request.method() == Method::GET && request.uri().path() == "/metrics" {
        let mut answer = Response::new(full(metrics.text()));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4");
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
        return answer;
    }
    let mut answer = Response::new(full("only GET /metrics is here\n"));
    *answer.status_mut() = StatusCode::NOT_FOUND;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_class() {
        let metrics = Metrics::default();
        metrics.answered(StatusCode::OK);
        metrics.answered(StatusCode::FORBIDDEN);
        metrics.answered(StatusCode::FORBIDDEN);
        let text = metrics.text();
        assert!(
            text.contains("{class=\"2xx\"} 1\n") && text.contains("{class=\"4xx\"} 2\n"),
            "{text}"
        );
    }
}
