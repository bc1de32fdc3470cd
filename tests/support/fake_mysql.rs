//! Programs in the place of mysqld, packed as its vendor packs it, and the list of artifacts that names them: they say their version, take
//! every option that is not called `slip`, and end like a server that does not know an option. They may write to their data before.

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};
use std::{fmt::Write as _, fs, path::Path, process::Command};

/// Puts one of each version into `home/files`, made with the C compiler, and names them in `home/list.toml`. Whoever finds the file
/// `home/writes` writes to `data` before it ends. What goes into `[artifacts]` for it.
pub fn offer(home: &Path, versions: &[&str], data: &Path) -> String {
    let files = home.join("files");
    fs::create_dir_all(&files).unwrap();
    let mut list = String::from("schema = 1\n");
    for version in versions {
        let bytes = packed(home, version, data);
        fs::write(files.join(format!("mysql-{version}.tar.gz")), &bytes).unwrap();
        let sha256: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        write!(
            list,
            "[[artifact]]\nid = \"fake-mysql-{version}\"\npart = \"mysql\"\nchoice = \"{version}\"\nversion = \"{version}\"\n\
             platform = \"any\"\nlicence = \"none\"\nlayout = \"mysql\"\narchive = \"tar.gz\"\nfile = \"mysql-{version}.tar.gz\"\n\
             top = \"mysql-{version}\"\nurls = [\"http://127.0.0.1:9/mysql-{version}.tar.gz\"]\nsha256 = \"{sha256}\"\n"
        )
        .unwrap();
    }
    fs::write(home.join("list.toml"), list).unwrap();
    format!("files = \"{}\"\nlist = \"{}\"\n", files.display(), home.join("list.toml").display())
}

fn packed(home: &Path, version: &str, data: &Path) -> Vec<u8> {
    let writes = home.join("writes");
    let (source, program) = (home.join("fake-mysqld.c"), home.join("fake-mysqld"));
    let text = format!(
        "#include <fcntl.h>\n#include <stdio.h>\n#include <string.h>\n#include <unistd.h>\n\
         static int slips(const char *path) {{\n  char line[4096];\n  FILE *f = fopen(path, \"r\");\n\
           if (!f) return 0;\n  while (fgets(line, sizeof line, f)) if (!strncmp(line, \"slip=\", 5)) return 1;\n  return 0;\n}}\n\
         int main(int n, char **a) {{\n  int asked = 0, slip = 0;\n\
           for (int k = 1; k < n; k++) {{\n\
             if (!strcmp(a[k], \"--version\")) return puts(\"mysqld  Ver {version} for Linux on x86_64 (test)\") < 0;\n\
             if (!strcmp(a[k], \"--validate-config\")) asked = 1;\n\
             if (!strncmp(a[k], \"--defaults-file=\", 16)) slip = slips(a[k] + 16);\n  }}\n\
           if (asked && !slip) return 0;\n\
           if (!asked && !access(\"{writes}\", F_OK)) close(creat(\"{data}/written\", 0600));\n\
           fprintf(stderr, \"2026-11-26T14:28:06.678887Z 0 [ERROR] [MY-000067] [Server] unknown variable '%s=1'.\\n\", slip ? \"slip\" : \"late\");\n\
           return 1;\n}}\n",
        writes = writes.display(),
        data = data.display(),
    );
    fs::write(&source, text).unwrap();
    let done = Command::new("cc").args(["-O1", "-o"]).arg(&program).arg(&source).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut add = |name: &str, mode: u32, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        header.set_cksum();
        tar.append_data(&mut header, format!("mysql-{version}/{name}"), bytes).unwrap();
    };
    add("bin/mysqld", 0o755, &fs::read(&program).unwrap());
    for name in ["share/english/errmsg.sys", "share/charsets/Index.xml", "lib/private/none", "lib/plugin/none"] {
        add(name, 0o644, b"");
    }
    tar.into_inner().unwrap().finish().unwrap()
}
