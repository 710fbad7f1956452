//! The secret that an SPU proves its launch with: random, and behind it what shows where it comes
//! from. A database keeps only its hash; one that went back has not even that, and can still tell
//! an SPU that was started after the backup from a stranger, for the key of the proof is in it.

use std::io;

use secrecy::{ExposeSecret as _, SecretString};
use weir_protocol::ids::{ClusterId, LaunchId, SpuId};

use super::{Pepper, pepper::Purpose, random_secret};

/// Hexadecimal digits of the random part, and of the proof.
const PART: usize = 64;

/// A fresh one: 64 random hexadecimal digits, and 64 that prove where they come from.
///
/// # Errors
/// As [`random_secret`].
pub fn draw(
    pepper: &Pepper,
    cluster: ClusterId,
    spu: SpuId,
    launch: LaunchId,
) -> io::Result<SecretString> {
    let random = random_secret()?;
    let proof = pepper.hash(Purpose::LaunchOrigin, &owner(cluster, spu, launch), &random);
    Ok(format!("{}{proof}", random.expose_secret()).into())
}

/// Whether a control plane over this database drew it for this launch.
#[must_use]
pub fn is_ours(
    pepper: &Pepper,
    cluster: ClusterId,
    spu: SpuId,
    launch: LaunchId,
    secret: &SecretString,
) -> bool {
    let text = secret.expose_secret();
    let Some((random, proof)) = text.split_at_checked(PART) else { return false };
    let random = SecretString::from(random.to_owned());
    pepper.verify(Purpose::LaunchOrigin, &owner(cluster, spu, launch), &random, proof)
}

fn owner(cluster: ClusterId, spu: SpuId, launch: LaunchId) -> String {
    format!("{cluster}/{spu}/{launch}")
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_secret_shows_whose_launch_it_is_of() {
        let pepper = Pepper::new("pepper".to_owned().into());
        let cluster = ClusterId(Uuid::from_u128(1));
        let launch = |n| LaunchId(Uuid::from_u128(n));
        let secret = draw(&pepper, cluster, SpuId(1), launch(2)).unwrap();
        let ours = |pepper, spu, n| is_ours(pepper, cluster, SpuId(spu), launch(n), &secret);
        assert!(ours(&pepper, 1, 2));
        assert!(!ours(&pepper, 2, 2) && !ours(&pepper, 1, 3));
        assert!(!ours(&Pepper::new("salt".to_owned().into()), 1, 2));
        for stranger in ["", "0", &"0".repeat(64), &"0".repeat(128), &"ü".repeat(64)] {
            let secret = SecretString::from(stranger.to_owned());
            assert!(!is_ours(&pepper, cluster, SpuId(1), launch(2), &secret), "{stranger}");
        }
    }
}
