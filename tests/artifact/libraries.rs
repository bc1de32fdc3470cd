//! What a vendor's mysqld lacks on this host, for real through `apt-get` and a root of its own: a small program in the vendor's
//! layout that is linked against a library which the host does not have.

use crate::{Heard, has, support};
use cdc_supervisor::artifact::{self, Origin, Part, Settings, Step, Wanted};
use liblzma::write::XzEncoder;
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// Japanese full-text search: a library that few hosts have, and whose package has one name in Debian and Ubuntu.
const LIBRARY: &str = "libmecab.so.2";
const PACKAGE: &str = "libmecab2";
const TOP: &str = "mysql-8.0.46-linux-glibc2.17-x86_64-minimal";

fn cc(dir: &Path, source: &str, output: &Path, flags: &[&str]) {
    let file = dir.join("source.c");
    fs::write(&file, source).unwrap();
    let done = Command::new("cc").arg("-o").arg(output).arg(&file).args(flags).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// `bin/mysqld` as the vendor links it: it looks for what it needs in `lib/private`.
fn mysqld(dir: &Path) -> Vec<u8> {
    let stand_in = dir.join(LIBRARY);
    let named = format!("-Wl,-soname,{LIBRARY}");
    cc(dir, "const char *mecab_version(void) { return 0; }", &stand_in, &["-shared", "-fPIC", &named]);
    let program = dir.join("mysqld");
    let main = "#include <stdio.h>\nconst char *mecab_version(void);\nint main(void) {\n\
        printf(\"mysqld  Ver 8.0.46 for Linux on x86_64 (mecab %s)\\n\", mecab_version());\n  return 0;\n}\n";
    cc(dir, main, &program, &["-Wl,-rpath,$ORIGIN/../lib/private", stand_in.to_str().unwrap()]);
    fs::read(program).unwrap()
}

fn archive(dir: &Path) -> Vec<u8> {
    let mut tar = tar::Builder::new(XzEncoder::new(Vec::new(), 6));
    let mut add = |name: &str, mode: u32, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        header.set_cksum();
        tar.append_data(&mut header, format!("{TOP}/{name}"), bytes).unwrap();
    };
    add("bin/mysqld", 0o755, &mysqld(dir));
    for name in
        ["lib/private/libx.so.1", "lib/plugin/x.so", "share/english/errmsg.sys", "share/charsets/Index.xml", "LICENSE"]
    {
        add(name, 0o644, b"x");
    }
    tar.into_inner().unwrap().finish().unwrap()
}

#[test]
fn a_library_that_the_host_lacks_comes_from_its_package_and_only_the_tree_changes() {
    let test = "a library that the host lacks";
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(dir.path().join("store"));
    let cc = Command::new("cc").arg("--version").stdout(Stdio::null()).status().is_ok();
    let host = &settings.host;
    if !has(test, &[("apt-get", host.apt_get.is_some()), ("dpkg-deb", host.dpkg_deb.is_some()), ("cc", cc)]) {
        return;
    }
    let status = fs::read("/var/lib/dpkg/status").unwrap_or_default();
    let cache = Command::new("ldconfig").arg("-p").output().map(|o| o.stdout).unwrap_or_default();
    if String::from_utf8_lossy(&cache).contains(LIBRARY) {
        support::skip(test, &format!("this host has {LIBRARY}"));
        return;
    }
    let body = archive(dir.path());
    let files = dir.path().join("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("m.tar.xz"), &body).unwrap();
    let sha256: String = Sha256::digest(&body).iter().map(|b| format!("{b:02x}")).collect();
    let list = dir.path().join("list.toml");
    let row = format!(
        "schema = 1\n[[artifact]]\nid = \"m\"\npart = \"mysql\"\nchoice = \"8.0.46\"\nversion = \"8.0.46\"\nplatform = \"any\"\n\
         licence = \"none\"\nlayout = \"mysql\"\narchive = \"tar.xz\"\nfile = \"m.tar.xz\"\ntop = \"{TOP}\"\n\
         urls = [\"https://127.0.0.1:9/m.tar.xz\"]\nsha256 = \"{sha256}\"\n"
    );
    fs::write(&list, row).unwrap();
    settings.files = files;
    settings.list = Some(list);
    settings.mysql_choice = Some("8.0.46".into());
    let wanted = Wanted { mysql: true, ..Wanted::default() };

    // Packages are no source of this configuration: what is missing is said, with the package that has it.
    settings.sources = vec![Origin::File];
    let e = artifact::ensure(wanted, &settings, &Heard::default(), &Default::default()).unwrap_err();
    let said = format!("{e:?}");
    assert!(said.contains(LIBRARY) && said.contains(PACKAGE), "{said}");

    settings.sources = vec![Origin::File, Origin::Packages];
    let heard = Heard::default();
    let mysql = artifact::ensure(wanted, &settings, &heard, &Default::default()).unwrap().mysql.unwrap();
    let words = format!("{LIBRARY} is from package {PACKAGE}, put beside the program");
    let steps = heard.0.lock().unwrap().clone();
    assert!(steps.contains(&Step::Note { what: Part::Mysql, text: words.clone() }), "{steps:?}");
    println!("{words}");
    assert!(mysql.mysqld.parent().unwrap().join("../lib/private").join(LIBRARY).is_file());
    // It runs by itself, and what it says comes out of the library.
    let done = Command::new(&mysql.mysqld).env_clear().output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && said.contains("(mecab 0."), "{said}{}", String::from_utf8_lossy(&done.stderr));
    let lock = fs::read_to_string(settings.store.join("lock.toml")).unwrap();
    assert!(lock.contains(&format!("name = \"{PACKAGE}\"")), "{lock}");
    // Sealed with it: every byte is compared, and nothing is asked of anybody.
    settings.offline = true;
    settings.verify_all = true;
    assert!(artifact::resolve(wanted, &settings).unwrap().is_some());
    assert_eq!(fs::read("/var/lib/dpkg/status").unwrap_or_default(), status, "nothing was installed");
}
