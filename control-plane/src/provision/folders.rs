//! Where an SPU's data lies. The path ends in two ids that nobody else uses, so that the
//! removal of a folder can never reach what is not the cluster's.

use weir_protocol::ids::{ClusterId, SpuId};

/// The folder of a cluster's data: `<base>/<cluster id>`.
#[must_use]
pub fn cluster_folder(base_dir: &str, cluster_id: ClusterId) -> String {
    format!("{}/{cluster_id}", base_dir.trim_end_matches('/'))
}

/// The data folder of one SPU: `<base>/<cluster id>/spu-<n>`.
#[must_use]
pub fn spu_folder(base_dir: &str, cluster_id: ClusterId, spu_id: SpuId) -> String {
    format!("{}/spu-{spu_id}", cluster_folder(base_dir, cluster_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_ends_in_the_ids() {
        let cluster = ClusterId(uuid::Uuid::from_u128(7));
        let expected = "/data/cl_00000000000000000000000000000007/spu-2";
        assert_eq!(spu_folder("/data", cluster, SpuId(2)), expected);
        assert_eq!(spu_folder("/data/", cluster, SpuId(2)), expected);
    }
}
