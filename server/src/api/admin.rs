//! `quintet.v1.Admin`: forming the cluster and looking at it.

use std::sync::Arc;

use quintet_proto::v1;
use tonic::{Request, Response, Status};

use super::{encode_error, kv};
use crate::node::{bootstrap::Bootstrap, status};

/// The service.
pub struct AdminService {
    bootstrap: Arc<Bootstrap>,
}

impl AdminService {
    /// Serves a node.
    pub fn new(bootstrap: Arc<Bootstrap>) -> AdminService {
        AdminService { bootstrap }
    }
}

#[tonic::async_trait]
impl v1::admin_server::Admin for AdminService {
    async fn init_cluster(
        &self,
        request: Request<v1::InitClusterRequest>,
    ) -> Result<Response<v1::InitClusterResponse>, Status> {
        let formed = self.bootstrap.init(request.into_inner(), true).await;
        formed.map(Response::new).map_err(kv::status)
    }

    async fn drain(
        &self,
        request: Request<v1::DrainRequest>,
    ) -> Result<Response<v1::DrainResponse>, Status> {
        let drained = self.bootstrap.drain(request.into_inner()).await;
        drained.map(Response::new).map_err(kv::status)
    }

    async fn locate(
        &self,
        request: Request<v1::LocateRequest>,
    ) -> Result<Response<v1::LocateResponse>, Status> {
        let found = status::locate(&self.bootstrap, &request.into_inner());
        found.map(Response::new).map_err(|error| kv::status(encode_error(error)))
    }

    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(status::of(&self.bootstrap)))
    }
}
