# shellcheck shell=sh
# SPDX-License-Identifier: BSD-3-Clause
# Runs in the guest of nvmf_target.sh: what nvme-cli says of our controller nvme0 and its namespace 1, command for command. Prints what is not
# as it must be. What there is, is what Identify and the logs say; all else has the status that the specification names.
c=/dev/nvme0 d=/dev/nvme0n1 opcode='*(0x4001)*' field='*(0x4002)*' namespace='*(0x400b)*' page='*(0x4109)*' range='*(0x4080)*' conflict='*(0x4083)*'
says() { # PATTERN COMMAND...
	pattern=$1
	shift
	got=$("$@" 2>&1)
	# shellcheck disable=SC2254 # it is a pattern
	case $got in
	$pattern) ;;
	*) printf "'%s' printed '%s', which is not as '%s'\n" "$*" "$got" "$pattern" ;;
	esac
}

# ---- data
dd if=/dev/urandom of=/run/one bs=4k count=1 2>/dev/null
cp /run/one /run/other
printf 'another' | dd of=/run/other bs=1 seek=4000 conv=notrunc 2>/dev/null
says '*Success*' nvme write $d -s 0 -c 7 -z 4096 -d /run/one
says '*Success*' nvme compare $d -s 0 -c 7 -z 4096 -d /run/one
says '*(0x4285)*' nvme compare $d -s 0 -c 7 -z 4096 -d /run/other
says '*success*' nvme copy $d --sdlba=64 --slbs=4,0 --blocks=3,3
dd if=/run/one of=/run/turned bs=2k skip=1 count=1 2>/dev/null
dd if=/run/one of=/run/turned bs=2k seek=1 count=1 2>/dev/null
says '*Success*' nvme compare $d -s 64 -c 7 -z 4096 -d /run/turned
says "$range" nvme copy $d --sdlba=64 --slbs=0,999999999 --blocks=7,7
says "$range" nvme copy $d --sdlba=131071 --slbs=0 --blocks=7
says '*(0x4183)*' nvme copy $d --sdlba=64 --slbs=0 --blocks=65535
says '*success*' nvme dsm $d -n 1 --ad --slbs=64 --blocks=8
head -c 4096 /dev/zero >/run/zero
says '*Success*' nvme compare $d -s 64 -c 7 -z 4096 -d /run/zero
says "$range" nvme dsm $d -n 1 --ad --slbs=131071 --blocks=8
says '*Success*' nvme write-zeroes $d -s 0 -c 3
says '*Success*' nvme compare $d -s 0 -c 3 -z 2048 -d /run/zero
says "$range" nvme write-zeroes $d -s 131071 -c 3
says '*success*' nvme flush $d -n 1
says "$range" nvme read $d -s 131071 -c 1 -z 1024 -d /run/back
says '*(0x4181)*' nvme read $d -s 0 -c 0 -z 512 -d /run/back --prinfo=1
for command in write-uncor verify; do says "$opcode" nvme $command $d -s 0 -c 7; done
says "$opcode" nvme io-passthru $d --opcode=0x99 -n 1
# Linux does not take the two halves of a fused pair.
says '*Invalid argument*' nvme io-passthru $d --opcode=5 --flags=1 -n 1 -l 512 -w -i /run/one

# ---- Identify
controller='*cmic      : 0xb*mdts      : 8*ver       : 0x20000*oaes      : 0x900*ctratt    : 0x41*cntrltype : 1*crdt1     : 10*'
controller=$controller'oacs      : 0*acl       : 3*aerl      : 3*frmw      : 0x3*lpa       : 0x7*elpe      : 15*npss      : 0*wctemp    : 343*'
controller=$controller'kas       : 1*anatt     : 30*anacap    : 23*anagrpmax : 33*nanagrpid : 33*sqes      : 0x66*cqes      : 0x44*'
controller=$controller'maxcmd    : 128*nn        : 1024*oncs      : 0x13d*fuses     : 0x1*fna       : 0*vwc       : 0x5*sgls      : 0x300001*mnan      : 1024*'
controller=$controller'ioccsz    : 516*iorcsz    : 1*icdoff    : 0*fcatt     : 0*msdbd     : 1*ofcs      : 1*'
says "$controller" nvme id-ctrl $c
says '*nsze    : 0x20000*ncap    : 0x20000*nuse    : 0x8*nsfeat  : 0x13*flbas   : 0*rescap  : 0xff*dlfeat  : 9*nawupf  : 7*nacwu   : 7*nvmcap  : 67108864*npwg    : 7*nows    : 7*mssrl   : 65535*mcl     : 65536*msrc    : 127*anagrpid: 1*lbaf  0 : ms:0   lbads:9*' nvme id-ns $d
says "*uuid    : $(cat /sys/block/nvme0n1/uuid)*nguid*csi     : 0*" nvme ns-descs $d
says '*0*:0x1' nvme list-ns $c
says '*nsfeat  : 0*nmic    : 0x1*rescap  : 0xff*anagrpid: 1*nstat   : 0x1*' nvme cmdset-ind-id-ns $d -n 1
says '*wzsl   : 13*dmrl   : 0*dmrsl  : 0*dmsl   : 0*' nvme nvm-id-ctrl $c
says '*lbstm : 0*pic   : 0*' nvme nvm-id-ns $d
says '*Combination*0*:1' nvme id-iocs $c
says '*nsze    : 0*nguid   : 00000000000000000000000000000000*' nvme id-ns $c -n 7
says "$namespace" nvme id-ns $c -n 2000
says "$namespace" nvme ns-descs $c -n 7
for command in 'list-ns -a' list-ctrl id-ns-granularity id-nvmset id-uuid primary-ctrl-caps list-secondary id-domain list-endgrp; do
	# shellcheck disable=SC2086 # with its option
	says "$field" nvme $command $c
done

# ---- properties
says '*80008201e01007f*' nvme get-property $c --offset=0
says '*1e*' nvme get-property $c --offset=0x68
says '*20000*' nvme get-property $c --offset=8
says '*460061*' nvme get-property $c --offset=0x14
says '*value: *1*' nvme get-property $c --offset=0x1c
for offset in 0xc 0x24 0x28 0x38; do says "$field" nvme get-property $c --offset=$offset; done

# ---- logs
says '*status_field	: 0x4002*parm_err_loc	: 0xffff*nsid		: 0*TCP*status_field	: 0x4002*' nvme error-log $c
says '*critical_warning			: 0*temperature				: 27*media_errors				: 0*' nvme smart-log $c
says '*temperature				: 27*' nvme smart-log $c -n 1
says "$namespace" nvme smart-log $c -n 7
says "$field" nvme get-log $c -i 3 -l 512 -n 1
says '*afi  : 0x1*frs1 : *' nvme fw-log $c
says '*LID 0*LID 0x1 *LID 0x2 *LID 0x3 *LID 0x4 *LID 0x5 *LID 0xc *LID 0x12 *LID 0x80 *' nvme supported-log-pages $c
says '*IOCS0 *00000001*IOCS1 *00000003*IOCS2 *00000001*IOCS5 *00000001*IOCS8 *00000003*IOCS9 *00000003*IOCS25 *00000003*' nvme effects-log $c -c 0
says '*ngrps	:	1*grpid	:	1*nnsids	:	1*state	:	optimized*nsid	:	1*' nvme ana-log $c
says '*ngrps	:	1*grpid	:	1*nnsids	:	0*state	:	optimized*' nvme ana-log $c -g
says '*FID 01 -> *00200001*FID 04 *FID 16 *FID 83 -> *00100001*' nvme fid-support-effects-log $c
says '*Log Page Count				: 0*' nvme resv-notif-log $c
says '' sh -c "nvme changed-ns-list-log $c | sed '/no ns changed/d'"
for command in mi-cmd-support-effects-log endurance-log 'persistent-event-log -a 0' self-test-log sanitize-log 'get-log -i 0xc0 -l 64'; do
	# shellcheck disable=SC2086 # with its options
	says "$page" nvme $command $c
done
says "$field" nvme get-log $c -i 1 -l 64 --lpo=2048

# ---- features
for id in 1 2 5 0xa; do says '*value:00000000*' nvme get-feature $c -f $id; done
says '*:0x00000157*' nvme get-feature $c -f 4
says '*:0x00000001*' nvme get-feature $c -f 6
says '*:0x00000900*' nvme get-feature $c -f 0xb
says '*:0x00000bb8*' nvme get-feature $c -f 0xf
says '*Host Behavior*' nvme get-feature $c -f 0x16 -H
host=$(tr -d - </sys/class/nvme/nvme0/hostid | sed 's/../& /g; s/ $//')
says "*$host*" nvme get-feature $c -f 0x81 -c 1 -l 16
for id in 0x82 0x83; do
	says '*value:00000000*' nvme get-feature $d -n 1 -f $id
	says "$namespace" nvme get-feature $c -f $id
done
for id in 3 8 9 0xc 0xd 0xe 0x10 0x11 0x80 0x84; do says "$field" nvme get-feature $c -f $id; done
says '*capabilities value:0x00000004*' nvme get-feature $c -f 7 -s 3
says "$field" nvme set-feature $c -f 2 --value=1
says "$field" nvme set-feature $c -f 5 --value=0x10000
says '*(0x410d)*' nvme set-feature $c -f 1 --value=1 -s
nvme set-feature $c -f 6 --value=0 >/dev/null
says '*value:00000000*' nvme get-feature $c -f 6
nvme set-feature $c -f 6 --value=1 >/dev/null
# From Linux 7 on it does so itself.
case $(nvme set-feature $c -f 7 --value=3 2>&1) in
*'(0x400c)'* | *'Permission denied'*) ;;
*) echo "the number of queues can be set when there are some" ;;
esac
nvme set-feature $c -f 4 --value=299 >/dev/null
says '*critical_warning			: 0x2*' nvme smart-log $c
nvme set-feature $c -f 4 --value=343 >/dev/null

# ---- reservations
says "$conflict" nvme resv-acquire $d -n 1 --crkey=170 --rtype=1 --racqa=0
says '*success*' nvme resv-register $d -n 1 --nrkey=170 --rrega=0
says "$conflict" nvme resv-acquire $d -n 1 --crkey=171 --rtype=1 --racqa=0
says "$field" nvme resv-acquire $d -n 1 --crkey=170 --rtype=9 --racqa=0
says '*success*' nvme resv-acquire $d -n 1 --crkey=170 --rtype=3 --racqa=0
says "*rtype     : 3*regctl    : 1*cntlid     : ffff*rcsts      : 1*rkey       : aa*hostid     : $(echo "$host" | tr -d ' ')*" nvme resv-report $d -n 1 --eds
says '*(0x4018)*' nvme io-passthru $d --opcode=0xe -n 1 -l 64 --cdw10=15 -r
says "$field" nvme resv-release $d -n 1 --crkey=170 --rtype=2 --rrela=0
says '*success*' nvme resv-release $d -n 1 --crkey=170 --rtype=3 --rrela=0
says '*success*' nvme resv-register $d -n 1 --crkey=170 --rrega=1
says '*rtype     : 0*regctl    : 0*' nvme resv-report $d -n 1 --eds

# ---- what there is not
says "$opcode" nvme format $d -f
says "$opcode" nvme fw-download $c -f /run/one
says "$opcode" nvme security-recv $c -p 1 -x 512
says "$opcode" nvme device-self-test $c -s 1
says "$opcode" nvme sanitize $c -a 1
says "$opcode" nvme dir-receive $d -D 0 -O 1 -l 4096
says "$opcode" nvme lockdown $c
says "$opcode" nvme get-lba-status $d -s 0 -m 1 -a 0x10
says "$opcode" nvme admin-passthru $c --opcode=0x55
dmesg | grep -i 'unusual effects'
true
