//! `quintet.v1.Admin`: forming the cluster and looking at it.

use std::sync::Arc;

use quintet_proto::v1;
use tonic::{Request, Response, Status};

use super::status::status;
use crate::{
    cluster::{self, debug, state::NodeState},
    error::OpError,
    range::checksum,
};

/// The service.
pub struct AdminService {
    node_state: Arc<NodeState>,
    /// One at a time: each reads all that the node stores.
    summing: tokio::sync::Mutex<()>,
}

impl AdminService {
    /// Serves a node.
    pub fn new(node_state: Arc<NodeState>) -> AdminService {
        AdminService { node_state, summing: tokio::sync::Mutex::new(()) }
    }
}

#[tonic::async_trait]
impl v1::admin_server::Admin for AdminService {
    async fn init_cluster(
        &self,
        request: Request<v1::InitClusterRequest>,
    ) -> Result<Response<v1::InitClusterResponse>, Status> {
        let formed = self.node_state.init(request.into_inner(), true).await;
        formed.map(Response::new).map_err(status)
    }

    async fn drain(
        &self,
        request: Request<v1::DrainRequest>,
    ) -> Result<Response<v1::DrainResponse>, Status> {
        let drained = self.node_state.drain(request.into_inner()).await;
        drained.map(Response::new).map_err(status)
    }

    async fn replace_node(
        &self,
        request: Request<v1::ReplaceNodeRequest>,
    ) -> Result<Response<v1::ReplaceNodeResponse>, Status> {
        let replaced = self.node_state.replace(request.into_inner(), true).await;
        replaced.map(Response::new).map_err(status)
    }

    async fn place_time_servers(
        &self,
        request: Request<v1::PlaceTimeServersRequest>,
    ) -> Result<Response<v1::PlaceTimeServersResponse>, Status> {
        let placed = self.node_state.place_time_servers(request.into_inner()).await;
        placed.map(Response::new).map_err(status)
    }

    async fn recover_time(
        &self,
        request: Request<v1::RecoverTimeRequest>,
    ) -> Result<Response<v1::RecoverTimeResponse>, Status> {
        let recovered = self.node_state.recover_time(request.into_inner()).await;
        recovered.map(Response::new).map_err(status)
    }

    async fn set_retention(
        &self,
        request: Request<v1::SetRetentionRequest>,
    ) -> Result<Response<v1::SetRetentionResponse>, Status> {
        let done = self.node_state.set_retention(request.into_inner()).await;
        done.map(Response::new).map_err(status)
    }

    async fn list_retention(
        &self,
        _request: Request<v1::ListRetentionRequest>,
    ) -> Result<Response<v1::ListRetentionResponse>, Status> {
        self.node_state.list_retention().map(Response::new).map_err(status)
    }

    async fn locate(
        &self,
        request: Request<v1::LocateRequest>,
    ) -> Result<Response<v1::LocateResponse>, Status> {
        let found = cluster::status::locate(&self.node_state, &request.into_inner());
        found.map(Response::new).map_err(status)
    }

    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(cluster::status::of(&self.node_state)))
    }

    async fn debug_range(
        &self,
        request: Request<v1::DebugRangeRequest>,
    ) -> Result<Response<v1::DebugRangeResponse>, Status> {
        let found = debug::range(&self.node_state, request.into_inner().range_id);
        found.map(Response::new).map_err(status)
    }

    async fn registry(
        &self,
        _request: Request<v1::RegistryRequest>,
    ) -> Result<Response<v1::RegistryResponse>, Status> {
        let found = debug::registry(&self.node_state);
        found.map(Response::new).map_err(status)
    }

    async fn checksum(
        &self,
        request: Request<v1::ChecksumRequest>,
    ) -> Result<Response<v1::ChecksumResponse>, Status> {
        let wanted = request.into_inner().range_id;
        let Ok(_alone) = self.summing.try_lock() else {
            return Err(status(OpError::overloaded("another checksum is being taken; ask again")));
        };
        let mut ranges = Vec::new();
        for replica in self.node_state.replicas() {
            if wanted != 0 && replica.range.0 != wanted {
                continue;
            }
            let sum = checksum::of(&replica.shared.state)
                .await
                .map_err(|error| status(OpError::new(v1::Code::Storage, error.to_string())))?;
            // A replica without a state, or between two of them, has no checksum now.
            ranges.extend(sum.map(|sum| v1::RangeChecksum {
                range_id: replica.range.0,
                replica_id: replica.id.0,
                applied_index: sum.applied_index,
                hash: sum.hash,
                records: sum.records,
            }));
        }
        let node_id = self.node_state.peers().me().0;
        Ok(Response::new(v1::ChecksumResponse { node_id, ranges }))
    }
}
