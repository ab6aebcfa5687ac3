;; world: strategy
;; import: wasi:io/poll@0.2.0
;; import: wasi:http/types@0.2.0
;; import: wasi:http/outgoing-handler@0.2.0
;; A strategy that sends a request itself, to the authority that is its prompt. Its answer is the number of the error in `error-code`, two digits, or
;; `sent` where it was answered.
(module
  (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
  (import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@0.2.0" "[constructor]outgoing-request" (func $request (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-scheme"
    (func $scheme (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-authority"
    (func $authority (param i32 i32 i32 i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-path-with-query"
    (func $path (param i32 i32 i32 i32) (result i32)))
  (import "wasi:http/outgoing-handler@0.2.0" "handle" (func $handle (param i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[method]future-incoming-response.subscribe" (func $subscribe (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]future-incoming-response.get" (func $get (param i32 i32)))
  ;; part: memory
  ;; part: strategy
  (data (i32.const 512) "sent")
  (data (i32.const 528) "/")
  (func (export "hermes:plugin/agent@0.1.0#run") (param $task i32) (result i32)
    (local $request i32) (local $answer i32) (local $code i32)
    (drop (call $done))
    (i32.store (i32.const 72) (i32.const 512))
    (i32.store (i32.const 76) (i32.const 4))
    (local.set $request (call $request (call $fields)))
    (drop (call $scheme (local.get $request) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)))
    (drop (call $authority (local.get $request) (i32.const 1)
      (i32.load (local.get $task)) (i32.load offset=4 (local.get $task))))
    (drop (call $path (local.get $request) (i32.const 1) (i32.const 528) (i32.const 1)))
    (call $handle (local.get $request) (i32.const 0) (i32.const 0) (i32.const 1024))
    ;; Whether it is refused at once or when it is waited for: where the error stands.
    (local.set $code (i32.const 1032))
    (if (i32.eqz (i32.load8_u (i32.const 1024)))
      (then
        (local.set $answer (i32.load (i32.const 1032)))
        (call $block (call $subscribe (local.get $answer)))
        (call $get (local.get $answer) (i32.const 1088))
        (if (i32.eqz (i32.load8_u (i32.const 1104))) (then (return (i32.const 64))))
        (local.set $code (i32.const 1112))))
    (local.set $code (i32.load8_u (local.get $code)))
    (i32.store8 (i32.const 512) (i32.add (i32.const 48) (i32.div_u (local.get $code) (i32.const 10))))
    (i32.store8 (i32.const 513) (i32.add (i32.const 48) (i32.rem_u (local.get $code) (i32.const 10))))
    (i32.store (i32.const 76) (i32.const 2))
    (i32.const 64)))
