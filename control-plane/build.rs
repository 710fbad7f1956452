//! `sqlx::migrate!` watches the files that it saw; a new file needs this.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
