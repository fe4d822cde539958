# What the test host is built from. A change here makes the next build use new folders.
# shellcheck shell=bash disable=SC2034  # read by the other files

debian_release=trixie
# Hosts can be made of these as well: the oldest and the newest that the package is for.
other_releases='bookworm forky'
# Its User-Mode Linux kernel is the first that boots on every processor we met: older ones
# fix the size of the floating point state when they are compiled.
kernel_release=forky
# MinIO has no releases in the Go module index, only commits.
minio_version=v0.0.0-20260212201848-7aac2a2c5b7c
# Go itself comes as a module too, so whatever Go the machine has is only asked to download it.
go_version=1.24.13
