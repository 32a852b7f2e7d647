//! `grpc.health.v1.Health`, for every service of the client port: load balancers and orchestrators ask it.
//!
//! The whole node (no name) and `quintet.v1.KV` serve while `/readyz` says so; the others whenever they
//! can be asked, since a node that is not ready is just what they are there for. `tonic-health`'s own
//! service ends a `Watch` of a name that it does not know; the protocol keeps it open, with
//! `SERVICE_UNKNOWN`, so that a client need not come again and again.

use futures::{StreamExt, stream, stream::BoxStream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health,
};

/// What follows the node's readiness.
const FOLLOWING: [&str; 2] = ["", "quintet.v1.KV"];
/// What serves as soon as it can be asked.
const ALWAYS: [&str; 4] = [
    "quintet.v1.Admin",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// The service.
pub(crate) struct HealthService {
    ready: watch::Receiver<bool>,
}

impl HealthService {
    /// Serves what a node says of itself.
    pub(crate) fn new(ready: watch::Receiver<bool>) -> HealthService {
        HealthService { ready }
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

fn serving(ready: bool) -> HealthCheckResponse {
    answer(if ready { ServingStatus::Serving } else { ServingStatus::NotServing })
}

/// What is so at first, and each change. Ends with the node.
fn changes(ready: watch::Receiver<bool>) -> impl stream::Stream<Item = HealthCheckResponse> + Send {
    stream::unfold((ready, None), |(mut ready, told)| async move {
        loop {
            let now = *ready.borrow_and_update();
            if told != Some(now) {
                return Some((serving(now), (ready, Some(now))));
            }
            ready.changed().await.ok()?;
        }
    })
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &*request.get_ref().service;
        if FOLLOWING.contains(&service) {
            Ok(Response::new(serving(*self.ready.borrow())))
        } else if ALWAYS.contains(&service) {
            Ok(Response::new(serving(true)))
        } else {
            Err(Status::not_found("no service of this name is served here; reflection lists them"))
        }
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = &*request.get_ref().service;
        let told = if FOLLOWING.contains(&service) {
            changes(self.ready.clone()).boxed()
        } else {
            let first = if ALWAYS.contains(&service) {
                serving(true)
            } else {
                answer(ServingStatus::ServiceUnknown)
            };
            stream::iter([first]).chain(stream::pending()).boxed()
        };
        Ok(Response::new(told.map(Ok).boxed()))
    }
}

#[cfg(test)]
mod tests {
    use super::{ServingStatus as Said, *};
    use futures::FutureExt;

    fn about(service: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest { service: service.to_owned() })
    }

    #[tokio::test]
    async fn every_service_has_an_answer_and_others_are_not_found() {
        let (ready, seen) = watch::channel(false);
        let health = HealthService::new(seen);
        let said = async |service: &str| {
            health.check(about(service)).await.map(|said| said.into_inner().status())
        };
        for is_ready in [false, true] {
            ready.send_replace(is_ready);
            let expected = if is_ready { Said::Serving } else { Said::NotServing };
            for service in FOLLOWING {
                assert_eq!(said(service).await.expect("known"), expected, "{service}");
            }
            for service in ALWAYS {
                assert_eq!(said(service).await.expect("known"), Said::Serving, "{service}");
            }
            let status = said("quintet.v1.Nothing").await.expect_err("unknown");
            assert_eq!(status.code(), tonic::Code::NotFound);
        }
    }

    #[tokio::test]
    async fn a_watch_tells_changes_and_one_of_an_unknown_service_stays_open() {
        let (ready, seen) = watch::channel(false);
        let health = HealthService::new(seen);
        let open =
            async |service: &str| health.watch(about(service)).await.expect("open").into_inner();
        let mut of_kv = open("quintet.v1.KV").await;
        let mut of_none = open("quintet.v1.Nothing").await;
        let said = |watch: &mut BoxStream<'static, Result<HealthCheckResponse, Status>>| {
            watch.next().now_or_never().map(|said| said.expect("open").expect("said").status())
        };
        assert_eq!(said(&mut of_kv), Some(Said::NotServing));
        assert_eq!(said(&mut of_none), Some(Said::ServiceUnknown));
        ready.send_replace(false);
        assert_eq!(said(&mut of_kv), None, "nothing has changed");
        ready.send_replace(true);
        assert_eq!(said(&mut of_kv), Some(Said::Serving));
        assert_eq!(said(&mut of_none), None, "it is open still");
        drop(ready);
        assert!(of_kv.next().await.is_none(), "the node has ended");
    }
}
