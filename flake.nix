{
  description = "From one cluster.toml to a working Raspberry Pi cluster";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-25.11";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      forEachSystem = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      # `nix develop`, then cargo as usual. To run ARM64 programs a NixOS machine also needs
      # boot.binfmt.emulatedSystems = [ "aarch64-linux" ].
      devShells = forEachSystem (pkgs: {
        default = pkgs.mkShell {
          packages = with pkgs; [
            cargo
            cargo-deny
            cargo-nextest
            clippy
            dnsmasq
            dpkg
            e2fsprogs
            gcc
            mmdebstrap
            openssh
            qemu
            redis
            rustc
            rustfmt
            skopeo
            umoci
          ];
        };
      });

      formatter = forEachSystem (pkgs: pkgs.nixfmt-rfc-style);
    };
}
