create database if not exists {raw:Identifier} $on_cluster
