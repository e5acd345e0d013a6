{
  description = "From one cluster.toml to a working Raspberry Pi cluster";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-25.11";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEachSystem =
        f: nixpkgs.lib.genAttrs systems (system: f system nixpkgs.legacyPackages.${system});

      version = (builtins.fromTOML (builtins.readFile ./Cargo.toml)).workspace.package.version;

      # What is known by another name in nixpkgs than in Debian, by which the chores call it.
      named =
        pkgs: name: program:
        pkgs.writeShellApplication {
          inherit name;
          text = ''exec ${program} "$@"'';
        };

      # Programs for the nodes, of which every machine can make some.
      arm64 = pkgs: pkgs.pkgsCross.aarch64-multiplatform;

      # Says, as Debian's does, whether ARM64 programs run here: `arch-test arm64`, and with -n not by QEMU.
      archTest =
        pkgs:
        pkgs.writeShellApplication {
          name = "arch-test";
          text = ''
            native=
            if [ "$1" = -n ]; then
              native=1
              shift
            fi
            runs() {
              [ "$1" = arm64 ] || return
              [ -z "$native" ] || [ "$(uname -m)" = aarch64 ] || return
              ${(arm64 pkgs).pkgsStatic.busybox}/bin/busybox true
            }
            if runs "$1" 2>/dev/null; then
              echo "$1: ok"
            else
              echo "$1: not supported on this machine/kernel"
              exit 1
            fi
          '';
        };

      # Links statically: the C library for that is in an output of its own.
      linker =
        pkgs:
        let
          inherit ((arm64 pkgs).stdenv) cc;
        in
        named pkgs "aarch64-linux-gnu-gcc" "${cc}/bin/${cc.targetPrefix}gcc -B${(arm64 pkgs).glibc.static}/lib";

      # With the caller's PATH before its own, as arch-test is there, and the machine's newuidmap, which has root's rights.
      mmdebstrap =
        pkgs:
        pkgs.mmdebstrap.overrideAttrs (it: {
          installPhase = builtins.replaceStrings [ "--set PATH " ] [ "--suffix PATH : " ] it.installPhase;
        });

      # What `cargo xtask doctor` asks for, as far as packages bring it: CI holds this against doctor's table. A machine
      # also needs, in NixOS's words,
      # boot.binfmt = { emulatedSystems = [ "aarch64-linux" ]; preferStaticEmulators = true; };
      # and users.users.NAME.autoSubUidGidRange = true, where NAME is not root.
      tools =
        pkgs: with pkgs; [
          (archTest pkgs)
          (linker pkgs)
          (mmdebstrap pkgs)
          (named pkgs "docker-registry" "${distribution}/bin/registry")
          (named pkgs "qemu-aarch64-static" "${pkgsStatic.qemu-user}/bin/qemu-aarch64")
          (python3.withPackages (of: [ of.pip ]))
          # Has the standard library for ARM64 beside the machine's own.
          (arm64 pkgs).buildPackages.rustc
          apt
          cargo
          cargo-deny
          cargo-nextest
          chromedriver
          chromium
          clippy
          dnsmasq
          dosfstools
          dpkg
          e2fsprogs
          gcc
          git
          mtools
          openssh
          openssl
          qemu
          redis
          rustfmt
          skopeo
          sshfs
          umoci
          util-linux
        ];

      # The chores of this repository, as `nix run .#vm-test`.
      verbs = [
        "ci"
        "doctor"
        "image"
        "lock"
        "oci"
        "release"
        "vm-test"
      ];
    in
    {
      packages = forEachSystem (
        system: pkgs: {
          default = self.packages.${system}.bramble;
          bramble = pkgs.rustPlatform.buildRustPackage {
            pname = "bramble";
            inherit version;
            src = self;
            cargoLock.lockFile = ./Cargo.lock;
            cargoBuildFlags = [
              "--package"
              "bramble-cli"
              "--package"
              "bramble-search"
            ];
            # They are a check of their own, and need more than a build does.
            doCheck = false;
            meta = {
              description = "Turns one cluster.toml into a working Raspberry Pi cluster";
              license = with pkgs.lib.licenses; [
                mit
                asl20
              ];
              mainProgram = "bramble";
            };
          };
        }
      );

      checks = forEachSystem (
        system: pkgs: {
          bramble = self.packages.${system}.bramble;
          tests = self.packages.${system}.bramble.overrideAttrs (_: {
            pname = "bramble-tests";
            nativeCheckInputs = tools pkgs;
            doCheck = true;
            cargoTestFlags = [ "--workspace" ];
          });
        }
      );

      apps = forEachSystem (
        _: pkgs:
        nixpkgs.lib.genAttrs verbs (verb: {
          type = "app";
          program = "${
            pkgs.writeShellApplication {
              name = "bramble-${verb}";
              runtimeInputs = tools pkgs;
              text = ''exec cargo xtask ${verb} "$@"'';
            }
          }/bin/bramble-${verb}";
        })
      );

      # `nix develop`, then cargo as usual: `nix develop -c cargo xtask vm-test`.
      devShells = forEachSystem (
        _: pkgs: { default = pkgs.mkShell { packages = tools pkgs; }; }
      );

      formatter = forEachSystem (_: pkgs: pkgs.nixfmt-rfc-style);
    };
}
