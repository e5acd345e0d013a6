# Evaluates flake.nix with a stand-in for nixpkgs, whose packages are only names. That finds what is misspelt or
# does not fit together; whether nixpkgs has these packages only `nix flake check` can say.
let
  package = name: {
    inherit name;
    type = "derivation";
    outPath = "/stand-in/${name}";
  };
  # All that the flake may ask for.
  names = [
    "apt" "cargo" "cargo-deny" "cargo-nextest" "chromedriver" "chromium" "clippy" "distribution" "dnsmasq" "dosfstools"
    "dpkg" "e2fsprogs" "gcc" "git" "mtools" "nixfmt-rfc-style" "openssh" "openssl" "qemu" "redis" "rustfmt" "skopeo"
    "sshfs" "umoci" "util-linux"
  ];
  genAttrs = names: f: builtins.listToAttrs (map (name: { inherit name; value = f name; }) names);
  lib = {
    inherit genAttrs;
    licenses = genAttrs [ "mit" "asl20" ] package;
  };
  isPackages = list: builtins.all (it: it.type == "derivation") list;
  pkgs = _: genAttrs names package // {
    inherit lib;
    mkShell = args: assert isPackages args.packages; package "shell" // { tools = map (it: it.name) args.packages; };
    writeShellApplication = args:
      assert isPackages (args.runtimeInputs or [ ]); assert builtins.isString args.text; package args.name;
    mmdebstrap.overrideAttrs = f:
      assert (f { installPhase = "--set PATH a"; }).installPhase == "--suffix PATH : a"; package "mmdebstrap";
    pkgsCross.aarch64-multiplatform = {
      buildPackages.rustc = package "rustc for arm64";
      glibc.static = package "glibc";
      pkgsStatic.busybox = package "busybox";
      stdenv.cc = package "gcc" // { targetPrefix = "aarch64-unknown-linux-gnu-"; };
    };
    pkgsStatic.qemu-user = package "qemu-user";
    python3.withPackages = f: assert isPackages (f { pip = package "pip"; }); package "python3";
    rustPlatform.buildRustPackage = args:
      assert builtins.pathExists args.cargoLock.lockFile;
      package "${args.pname}-${args.version}" // {
        overrideAttrs = f: builtins.deepSeq (f args) (package (f args).pname);
      };
  };

  flake = import ../flake.nix;
  self = flake.outputs {
    inherit self;
    nixpkgs = {
      inherit lib;
      legacyPackages = genAttrs [ "x86_64-linux" "aarch64-linux" ] pkgs;
    };
  };
  shown = it: if it ? program then it.program else it.name;
  named = builtins.mapAttrs (_: shown);
in
{
  packages = builtins.mapAttrs (_: named) self.packages;
  checks = builtins.mapAttrs (_: named) self.checks;
  apps = builtins.mapAttrs (_: named) self.apps;
  devShells = builtins.mapAttrs (_: named) self.devShells;
  formatter = named self.formatter;
  tools = self.devShells.x86_64-linux.default.tools;
}
