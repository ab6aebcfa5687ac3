;; world: tool
;; One tool, `odd`, that answers nothing; a test puts its schema at 65536.
(module
  (memory (export "memory") 4)
  (data (i32.const 16) "odd")
  (data (i32.const 128) "\10\00\00\00\03\00\00\00")
  (data (i32.const 148) "\10\00\00\00\03\00\00\00\00\00\01\00")
  (data (i32.const 200) "\80\00\00\00\01\00\00\00")
  ;; schema
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "hermes:plugin/toolset@0.1.0#list-tools") (result i32) (i32.const 200))
  (func (export "hermes:plugin/toolset@0.1.0#call") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 1024)))
