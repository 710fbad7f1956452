//! Calls to a consumer's coordinator.

use weir_protocol::{
    WireError,
    pb::offsets::{
        CommitRequest, CommittedOffset, OpenSessionRequest, offsets_client::OffsetsClient,
    },
};
use weir_runtime::rpc::Channel;

use super::{Link, MESSAGE_BYTES_MAX, Pool};

impl Link {
    fn offsets(&self) -> OffsetsClient<Channel> {
        OffsetsClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

impl Pool {
    /// Claims partitions, and what is committed for them.
    pub(crate) async fn open_session(
        &self,
        endpoint: &str,
        request: OpenSessionRequest,
    ) -> Result<Vec<CommittedOffset>, WireError> {
        let link = self.link(endpoint);
        let mut client = link.offsets();
        Ok(link.answer(client.open_session(link.call(request))).await?.committed)
    }

    /// Commits; done when it returns.
    pub(crate) async fn commit(
        &self,
        endpoint: &str,
        request: CommitRequest,
    ) -> Result<(), WireError> {
        let link = self.link(endpoint);
        let mut client = link.offsets();
        link.answer(client.commit(link.call(request))).await.map(|_| ())
    }
}
