;; world: tool
;; import: wasi:sockets/instance-network@0.2.0
;; import: wasi:sockets/ip-name-lookup@0.2.0
;; import: wasi:sockets/tcp@0.2.0
;; import: wasi:sockets/tcp-create-socket@0.2.0
;; import: wasi:sockets/udp-create-socket@0.2.0
;; A tool that goes around its HTTP: it asks for a socket of TCP over IPv4, one of UDP over IPv6 and the addresses of `localhost`, and connects to the port
;; of 127.0.0.1 that is the number in its arguments. It answers with two digits for each of the three: 00 where it got it, else one more than the number of the
;; error in `error-code`.
(module
  (import "wasi:sockets/instance-network@0.2.0" "instance-network" (func $network (result i32)))
  (import "wasi:sockets/tcp-create-socket@0.2.0" "create-tcp-socket" (func $tcp (param i32 i32)))
  (import "wasi:sockets/tcp@0.2.0" "[method]tcp-socket.start-connect"
    (func $connect (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "wasi:sockets/udp-create-socket@0.2.0" "create-udp-socket" (func $udp (param i32 i32)))
  (import "wasi:sockets/ip-name-lookup@0.2.0" "resolve-addresses" (func $addresses (param i32 i32 i32 i32)))
  ;; part: memory
  ;; part: tool
  (data (i32.const 64) "localhost")
  (func $port (param $at i32) (param $bytes i32) (result i32)
    (local $n i32) (local $digit i32)
    (loop $next
      (local.set $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
      (if (i32.lt_u (local.get $digit) (i32.const 10))
        (then (local.set $n (i32.add (i32.mul (local.get $n) (i32.const 10)) (local.get $digit)))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (local.tee $bytes (i32.sub (local.get $bytes) (i32.const 1)))))
    (local.get $n))
  (func $told (param $at i32) (result i32)
    (if (result i32) (i32.load8_u (local.get $at))
      (then (i32.add (i32.const 1) (i32.load8_u offset=4 (local.get $at))))
      (else (i32.const 0))))
  (func (export "hermes:plugin/toolset@0.1.0#call")
    (param i32 i32 i32 i32) (param $arguments i32) (param $bytes i32) (result i32)
    (local $network i32)
    (local.set $network (call $network))
    (call $tcp (i32.const 0) (i32.const 1024))
    (call $udp (i32.const 1) (i32.const 1032))
    (call $addresses (local.get $network) (i32.const 64) (i32.const 9) (i32.const 1040))
    (if (i32.eqz (i32.load8_u (i32.const 1024)))
      (then
        (call $connect (i32.load (i32.const 1028)) (local.get $network)
          (i32.const 0) (call $port (local.get $arguments) (local.get $bytes))
          (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1)
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
          (i32.const 1048))))
    (call $answer
      (i32.add (i32.mul (i32.const 10000) (call $told (i32.const 1024)))
        (i32.add (i32.mul (i32.const 100) (call $told (i32.const 1032)))
          (call $told (i32.const 1040)))))))
