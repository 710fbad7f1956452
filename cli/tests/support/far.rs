//! A control plane that is not the home's: `weir run control-plane`, as a user would start it.

use std::{
    net::TcpListener,
    process::{Child, Stdio},
};

use super::Home;

/// It runs until it is dropped; its SPUs end with the home.
pub struct Far {
    pub url: String,
    pub key: String,
    child: Child,
}

impl Far {
    /// Starts it beside the home and waits until it serves.
    pub fn start(home: &Home) -> Self {
        // Held together, so that they differ; free when the server takes them.
        let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [http, rpc] = held.map(|listener| listener.local_addr().unwrap().to_string());
        let folder = home.path().parent().unwrap().join("far");
        let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let (data, clusters) = (at("control-plane"), at("clusters"));
        let child = home
            .command(&["run", "control-plane", "--data-dir", &data, "--clusters-dir", &clusters])
            .args(["--http-listen", &http, "--rpc-listen", &rpc])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://{http}");
        let mut far = Self { url, key: String::new(), child };
        loop {
            assert!(far.child.try_wait().unwrap().is_none(), "the control plane ended");
            let key = std::fs::read_to_string(folder.join("control-plane/admin-key"));
            far.key = key.unwrap_or_default().trim().to_owned();
            let asked = home
                .command(&["cloud", "connect", "--url", &far.url])
                .env("WEIR_API_KEY", &far.key)
                .output()
                .unwrap();
            if String::from_utf8_lossy(&asked.stderr).contains("has no cluster") {
                return far;
            }
        }
    }

    /// Ends it by force, as a crash does.
    pub fn crash(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.crash();
    }
}
