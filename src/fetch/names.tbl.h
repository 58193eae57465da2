/*
 * Names that are refused before any look-up unless a rule allows them: X(name, names below it too, the IPv4 and the
 * IPv6 address it stands for or NULL, what it is with its source). A rule of --egress-allow for one of these addresses
 * allows the name to be looked up; then its addresses are judged as ever.
 *
 * The first group is this machine itself: RFC 6761 and the hosts files that distributions install. The second are the
 * metadata services of clouds, as their documentation spells them: they hand out credentials, some of them on addresses
 * that look public.
 */
X("localhost", true, "127.0.0.1", "::1", "localhost (RFC 6761)")
X("localhost.localdomain", true, "127.0.0.1", "::1", "localhost of a hosts file")
X("localhost4", false, "127.0.0.1", "::1", "localhost of a hosts file")
X("localhost4.localdomain4", false, "127.0.0.1", "::1", "localhost of a hosts file")
X("localhost6", false, "127.0.0.1", "::1", "localhost of a hosts file")
X("localhost6.localdomain6", false, "127.0.0.1", "::1", "localhost of a hosts file")
X("ip6-localhost", false, "127.0.0.1", "::1", "localhost of a hosts file")
X("ip6-loopback", false, "127.0.0.1", "::1", "localhost of a hosts file")
X("metadata", false, "169.254.169.254", "fd20:ce::254", "metadata service (Google Cloud)")
X("metadata.google.internal", false, "169.254.169.254", "fd20:ce::254", "metadata service (Google Cloud)")
X("metadata.goog", false, "169.254.169.254", "fd20:ce::254", "metadata service (Google Cloud)")
X("instance-data", false, "169.254.169.254", "fd00:ec2::254", "metadata service (Amazon EC2)")
X("instance-data.ec2.internal", false, "169.254.169.254", "fd00:ec2::254", "metadata service (Amazon EC2)")
X("metadata.azure.internal", false, "169.254.169.254", NULL, "metadata service (Azure)")
X("api.metadata.cloud.ibm.com", false, "169.254.169.254", NULL, "metadata service (IBM Cloud)")
X("metadata.exoscale.com", false, "169.254.169.254", NULL, "metadata service (Exoscale)")
X("metadata.tencentyun.com", false, "169.254.0.23", NULL, "metadata service (Tencent Cloud)")
X("metadata.packet.net", false, "192.80.8.124", NULL, "metadata service (Equinix Metal)")
X("metadata.platformequinix.com", false, "192.80.8.124", NULL, "metadata service (Equinix Metal)")
X("rancher-metadata", false, "169.254.169.250", NULL, "metadata service (Rancher)")
